/**
 * The boundary: imports point inwards. Domain knows the contracts; workflows know the domain, the contracts and the types of
 * activities; activities know the ports; only the entry points wire ports to adapters.
 */
const TYPE_ONLY = ['type-only'];

/** From `from`, nothing but `to` (paths of ours) may be imported. Packages and Node are the matter of other rules. */
const only = (name, comment, from, to) => ({
  name,
  comment,
  severity: 'error',
  from: { path: from },
  to: { path: '^(src|workflows|activities|workers|examples|tests|bench|docs)/', pathNot: to },
});

export default {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'Two files that need each other are one file, or lack a third. Types may refer to each other.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: TYPE_ONLY } },
    },
    {
      name: 'no-missing',
      comment: 'An import that leads nowhere.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-undeclared',
      comment: 'A package that package.json does not name.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'no-dev-dependencies',
      comment:
        'What runs in production may import production dependencies only; a dynamic import says what happens without.',
      severity: 'error',
      from: { path: '^(src|workflows|activities|workers|examples)/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: TYPE_ONLY, dynamic: false },
    },

    only('contracts', 'Contracts stand on their own.', '^src/contracts/', '^src/contracts/'),
    only('domain', 'Decisions know the contracts and each other.', '^src/domain/', '^src/(domain|contracts)/'),
    only('ports', 'Ports are made of contracts and domain types.', '^src/ports/', '^src/(ports|contracts|domain)/'),
    only(
      'project',
      'Reading a model project needs no adapter: the engine is handed in.',
      '^src/project/',
      '^src/(project|ports|contracts|domain)/',
    ),
    only(
      'adapters',
      'Adapters implement ports; of the settings they see types.',
      '^src/adapters/',
      '^src/(adapters|ports|contracts|domain|settings)(/|\\.ts$)',
    ),
    only(
      'workflows',
      'Workflows see the domain, the contracts, and the types of activities.',
      '^workflows/',
      '^(workflows|activities|src/(contracts|domain))/',
    ),
    only(
      'activities',
      'Activities see ports, never adapters.',
      '^activities/',
      '^(activities|src/(ports|domain|contracts))/',
    ),
    only(
      'telemetry',
      'Telemetry wraps ports; it knows no adapter.',
      '^src/telemetry/',
      '^src/(telemetry|ports|contracts|domain|settings)(/|\\.ts$)',
    ),
    only(
      'settings',
      'Settings are read by everyone and read no one; a duration is written as in documents.',
      '^src/settings(/|\\.ts$)',
      '^src/(settings(/|\\.ts$)|contracts/duration\\.ts$)',
    ),
    only(
      'local',
      'The local stack starts processes; it does not know what they do.',
      '^src/local/',
      '^src/(local|settings|contracts)(/|\\.ts$)',
    ),

    {
      name: 'settings-as-types',
      comment: 'An adapter is handed its settings; it does not read them.',
      severity: 'error',
      from: { path: '^src/adapters/' },
      to: { path: '^src/settings(/|\\.ts$)', dependencyTypesNot: TYPE_ONLY },
    },
    {
      name: 'wiring',
      comment: 'Only the entry points choose adapters.',
      severity: 'error',
      from: { pathNot: '^(workers|src/(cli|gateway|serving|adapters)|tests|bench)/' },
      to: { path: '^src/adapters/' },
    },
    {
      name: 'nothing-imports-tests',
      comment: 'Deleting tests/ or bench/ changes no behaviour.',
      severity: 'error',
      from: { pathNot: '^(tests|bench)/' },
      to: { path: '^(tests|bench)/' },
    },
    {
      name: 'nothing-imports-examples',
      comment: 'Deleting examples/ changes no behaviour.',
      severity: 'error',
      from: { pathNot: '^(examples|tests)/' },
      to: { path: '^examples/' },
    },

    {
      name: 'workflows-no-node',
      comment: 'A workflow is replayed: nothing of Node, and no package but Temporal’s for workflows.',
      severity: 'error',
      from: { path: '^workflows/' },
      to: {
        path: ['node_modules', '^[^./]'],
        dependencyTypes: ['npm', 'npm-dev', 'npm-peer', 'npm-optional', 'core'],
        pathNot: 'node_modules/@temporalio/(workflow|common)/',
      },
    },
    {
      name: 'workflows-activities-as-types',
      comment: 'An activity that is imported for real would run inside the workflow.',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: '^activities/', dependencyTypesNot: TYPE_ONLY },
    },
    {
      name: 'workflows-contracts-as-types',
      comment: 'A schema that tightens would break the replay of old histories: parse at the edges.',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: '^src/(contracts/(documents|events|duration)|domain/config)\\.ts$', dependencyTypesNot: TYPE_ONLY },
    },
    {
      name: 'domain-pure',
      comment: 'Decisions have no I/O and no clock, and workflows run them: no Node, no package.',
      severity: 'error',
      from: { path: '^src/domain/' },
      to: { dependencyTypes: ['npm', 'npm-dev', 'npm-peer', 'npm-optional', 'core'] },
    },
    {
      name: 'domain-no-schemas',
      comment: 'What workflows import must not bring zod along. config.ts and joins.ts are for activities.',
      severity: 'error',
      from: { path: '^src/domain/', pathNot: '^src/domain/(config|joins)\\.ts$' },
      to: {
        path: '^src/contracts/(documents|events|duration)\\.ts$|^src/domain/(config|joins)\\.ts$',
        dependencyTypesNot: TYPE_ONLY,
      },
    },
    {
      name: 'contracts-packages',
      comment: 'Contracts are zod schemas and types.',
      severity: 'error',
      from: { path: '^src/contracts/' },
      to: { dependencyTypes: ['npm', 'npm-dev', 'npm-peer', 'npm-optional', 'core'], pathNot: 'node_modules/zod/' },
    },
    {
      name: 'ports-no-packages',
      comment: 'A port names what is needed, not who does it.',
      severity: 'error',
      from: { path: '^src/ports/' },
      to: { dependencyTypes: ['npm', 'npm-dev', 'npm-peer', 'npm-optional'] },
    },
    {
      name: 'activities-packages',
      comment: 'Everything else comes through a port.',
      severity: 'error',
      from: { path: '^activities/' },
      to: {
        dependencyTypes: ['npm', 'npm-dev', 'npm-peer', 'npm-optional'],
        pathNot: 'node_modules/@temporalio/activity/',
      },
    },
    {
      name: 'activities-node',
      comment: 'Scratch files and nothing else of Node.',
      severity: 'error',
      from: { path: '^activities/' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?(fs|fs/promises|path)$' },
    },
    {
      name: 'kafka-behind-its-port',
      comment: 'The client can be changed in one place. The local stack only asks whether a broker answers.',
      severity: 'error',
      from: { pathNot: '^(src/adapters/kafka/|src/local/probes\\.ts$|tests/|bench/|examples/)' },
      to: { path: 'node_modules/kafkajs/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|\\.refit)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.check.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.mjs', '.js', '.json'],
    },
    reporterOptions: { text: { highlightFocused: true } },
  },
};
