/**
 * What the reference says of keys whose schema carries no description of its own. A new key is described in its schema, by
 * `.describe()`; a test names those that have neither.
 */
import type { LIFECYCLE_EVENTS } from '../src/contracts/events.ts';

const SEVERITY = 'block: the data is rejected; warn: it is only told';
const METRIC = 'Metric that is looked at';

export const DESCRIPTIONS: Readonly<Record<string, string>> = {
  Dataset: 'A named stream of files that grows by partitions. Each arrival that changes it makes a new version.',
  'Dataset.apiVersion': 'Version of this document format',
  'Dataset.kind': 'Tells the documents apart',
  'Dataset.name': 'How models and events name the dataset',
  'Dataset.owner': 'Who answers for it; only shown',
  'Dataset.description': 'What a row is; only shown',
  'Dataset.expect': 'Checks of the files of each arrival, before they become a version',
  'Dataset.expect[].unique':
    'No value of the column is there twice, in the files of an arrival or in a partition that stays. Nulls are left aside. The `id` is always checked so.',
  'Dataset.expect[].not_null': 'The column has no null.',
  'Dataset.expect[].null_share': 'At most a share of the column is null.',
  'Dataset.expect[].between':
    'The numbers or times of the column lie in a closed range. NaN lies in none; nulls are left aside.',
  'Dataset.expect[].in': 'The values of the column are among these. Nulls are left aside.',
  'Dataset.expect[].matches':
    'The texts of the column match a regular expression. It looks anywhere in the text: anchor it with `^` and `$`. Nulls are left aside.',
  'Dataset.expect[].like_reference':
    'The values are distributed as in the version before, over the bins of its profile (deciles, or the most frequent values). The first version passes, and so does an arrival of fewer than 200 rows.',
  'Dataset.expect[].freshness': 'The newest event time is not older than this when the event arrives.',
  'Dataset.expect[].foreign_key': 'Each value is in a column of another dataset. Nulls are left aside.',
  'Dataset.expect[].sql': 'A condition of your own holds for each row.',
  'Dataset.expect[].rows': 'The files of one arrival have so many rows together.',
  ...Object.fromEntries(
    ['unique', 'not_null', 'null_share', 'between', 'in', 'matches'].map((type) => [
      `Dataset.expect[].${type}.column`,
      'Column that is checked',
    ]),
  ),
  ...Object.fromEntries(
    ['unique', 'not_null', 'null_share', 'between', 'in', 'matches', 'rows'].flatMap((type) => [
      [`Dataset.expect[].${type}.severity`, SEVERITY],
      [`Dataset.expect[].${type}.type`, 'Tells the checks apart'],
    ]),
  ),
  'Dataset.expect[].null_share.max': 'Largest share of nulls',
  'Dataset.expect[].between.min': 'Smallest value; no bound when left out',
  'Dataset.expect[].between.max': 'Largest value; no bound when left out',
  'Dataset.expect[].in.values': 'Values that are expected',
  'Dataset.expect[].matches.pattern': 'Regular expression (RE2)',
  'Dataset.expect[].rows.min': 'Fewest rows; no bound when left out',
  'Dataset.expect[].rows.max': 'Most rows; no bound when left out',

  Model: 'A name with one definition, one lifecycle, and at most one champion.',
  'Model.apiVersion': 'Version of this document format',
  'Model.kind': 'Tells the documents apart',
  'Model.name': 'How the CLI, events and inference name the model',
  'Model.owner': 'Who answers for it; only shown',
  'Model.description': 'What the model answers; only shown',
  'Model.task': 'What the model predicts; decides metrics, trainer objective and output',
  'Model.dataset': 'Name of the dataset that it learns from',
  'Model.label': 'What is to be predicted',
  'Model.split': 'How the rows of a window are parted',
  'Model.split.type':
    'time: the newest rows are held out, which needs `time` in the Dataset; random: by a hash of the row',
  'Model.split.test': 'Share of rows that judge the model',
  'Model.split.validation':
    'Share of rows that the trainer may stop early by; test and validation together stay below 1',
  'Model.serving': 'Kept with the definition; every champion gets a traffic plan, which the inference servers serve',
  'Model.training': 'How a snapshot becomes an ONNX file; exactly one of `trainer` and `command`',
  'Model.training.trainer': 'A trainer that comes with Refit',
  'Model.training.params': 'Parameters for the trainer, as it names them',
  'Model.training.seed': 'Seed of the training, of a random split and of the bootstrap',
  'Model.training.limits': 'Where the trainer is ended',
  'Model.training.limits.time': 'Longest time of one attempt',
  'Model.training.limits.memory': 'Most resident memory of the trainer with its children, such as `512MiB` or `4GiB`',
  'Model.training.limits.cpu': 'Number of threads that the trainer is told to use',
  'Model.training.environment': 'What the trainer sees of the environment of the worker',
  'Model.evaluation': 'How a candidate is measured on the test rows',
  'Model.evaluation.slices': 'Source columns by whose values the deciding metric is also shown',
  'Model.gates': 'Checks that a candidate must pass before anyone is asked; the parity gate always runs',
  'Model.gates[].minimum': 'A metric on the test rows is at least a value.',
  'Model.gates[].minimum.type': 'Tells the gates apart',
  'Model.gates[].minimum.metric': METRIC,
  'Model.gates[].minimum.value': 'Smallest value that passes',
  'Model.gates[].maximum': 'A metric on the test rows is at most a value.',
  'Model.gates[].maximum.type': 'Tells the gates apart',
  'Model.gates[].maximum.metric': METRIC,
  'Model.gates[].maximum.value': 'Largest value that passes',
  'Model.gates[].champion':
    'The candidate against the champion by the deciding metric, on test rows that neither was trained on, by a paired bootstrap. It passes where the whole interval keeps to the rule, fails where the difference itself does not, and is inconclusive in between and where the rows are too few. It does not apply while there is no champion.',
  'Model.gates[].champion.type': 'Tells the gates apart',
  'Model.gates[].champion.require': 'not_worse: worse by at most the margin; better: better by more than the margin',
  'Model.gates[].champion.margin': 'In units of the deciding metric',
  'Model.gates[].champion.confidence': 'Confidence of the interval',
  'Model.gates[].slice': 'A metric on each value of a slice that has enough rows.',
  'Model.gates[].slice.type': 'Tells the gates apart',
  'Model.gates[].slice.slice': 'One of `evaluation.slices`',
  'Model.gates[].slice.metric': METRIC,
  'Model.gates[].slice.value': 'Smallest value that passes; largest for a metric where lower is better',
  'Model.gates[].slice.min_rows':
    'Values of the slice with fewer rows are left aside. With more than 10,000 other values the gate is inconclusive',
  'Model.approval': 'The decision of people',
  'Model.approval.required': 'Number of distinct approvers',
  'Model.approval.remind': 'Time between reminders while a decision is waited for',
  'Model.approval.expires': 'After this time without a decision the run ends `expired`',
  'Model.approval.on_expiry': 'What happens then',
  'Model.approval.on_newer':
    'supersede: a waiting candidate gives way to the next run that newer data, a definition or a person would start; hold: the next run waits',
  'Model.rollout': 'How an approved version takes over',
  'Model.rollout.type':
    'canary: step by step; immediate: all traffic at once. The first version of a model always goes at once',
  'Model.rollout.steps': 'Steps, in order',
  'Model.rollout.steps[].shadow':
    'The challenger answers every request as well; callers get the answer of the champion.',
  'Model.rollout.steps[].shadow.type': 'Tells the steps apart',
  'Model.rollout.steps[].shadow.hold': 'Least time of the step, once every live server has its plan',
  'Model.rollout.steps[].shadow.min_requests': 'Requests of the challenger before the step is judged',
  'Model.rollout.steps[].canary':
    'The challenger answers a share of the requests. A caller with the same request id stays with one version.',
  'Model.rollout.steps[].canary.type': 'Tells the steps apart',
  'Model.rollout.steps[].canary.hold': 'Least time of the step, once every live server has its plan',
  'Model.rollout.analysis': 'What breaks a step: the rollout rolls back',
  'Model.rollout.analysis.error_rate.max_increase': 'Largest increase, as a share of requests',
  'Model.rollout.analysis.latency_p95': '95th percentile of the time in features and model, against the champion',
  'Model.rollout.analysis.latency_p95.max_ratio': 'Largest ratio of challenger to champion',
  'Model.monitoring': 'Sweeps over the log of predictions; none when left out',
  'Model.monitoring.every': 'Time between sweeps',
  'Model.monitoring.window': 'Length of the window that a sweep looks at; it ends at the scheduled time',
  'Model.monitoring.min_rows': 'With fewer predictions in the window there is no verdict',
  'Model.monitoring.performance': 'Once outcomes are known, they decide before drift does',
  'Model.monitoring.performance.min_labels': 'Fewer known outcomes say nothing',
  'Model.retraining': 'When a run starts',
  'Model.retraining.triggers': 'Kinds of events that may start a run; others are refused',
  'Model.retraining.debounce': 'Quiet time after an event before a run starts',
  'Model.retraining.max_wait': 'Longest time that further events may put it off, once there are rows enough for a run',
  'Model.retraining.min_new_rows': 'New rows that data events must bring together',
  'Model.retraining.confirm_drift':
    'When alerts of outside detectors that carry no verdict count as confirmed, and when drift that stays confirms a sweep',
  'Model.retraining.confirm_drift.windows': 'So many drifted windows',
  'Model.retraining.confirm_drift.of': 'among the newest windows that do not overlap',
  'Model.retraining.budget': 'No limit when left out',
  'Model.retraining.budget.runs_per_day': 'Most runs in any 24 hours; a run that a person starts is not held back',
  'Model.notify': 'Who is told',
  'Model.notify[].events':
    'Among `approval.requested`, `approval.reminder`, `run.finished`, `rollout.step`, `version.promoted`, `version.rolledback`, `alert.raised`; `*` for all',

  Policy:
    'Who may approve: the platform’s document, not the model team’s. A model that several policies cover needs an approver whom all of them name.',
  'Policy.apiVersion': 'Version of this document format',
  'Policy.kind': 'Tells the documents apart',
  'Policy.name': 'Name of the policy',
  'Policy.approvers': 'Names that may decide',
  'Policy.requester_may_approve': 'Whether the person who asked for a run may decide on it',

  'event.specversion': 'Version of CloudEvents',
  'event.id': 'Unique for its source',
  'event.source': 'Who sent it; a URI reference, without white space',
  'event.type': 'One of those below',
  'event.subject': 'What it is about; part of the identity of its content',
  'event.time': 'When it happened',
  'event.datacontenttype': '`application/json`',
  'event.correlationid': 'Extension; kept with the event',
  'event.causationid': 'Extension; kept with the event',
  'event.traceparent': 'Extension; kept with the event',
  'event.data': 'See the type',

  'data-arrived': 'Files of a dataset have arrived. They are copied into the artifact store and become one version.',
  'data-arrived.dataset': 'Name of the dataset',
  'data-arrived.uris':
    'Addresses: `file:///…` and `s3://…` (also patterns with `*`), `https://…`, `query:NAME` of the Dataset document; [where data may lie](../data.md#places)',
  'data-arrived.partition': 'The files replace those of this partition; else they are appended',
  'data-arrived.format': 'Told from the name of the file when left out; gzip is told from its bytes',
  'data-arrived.sha256': 'Digest of each file, in the order of `uris`; another one is refused',
  'data-arrived.rows': 'Rows of the files together; another number is refused',

  'labels-arrived':
    'Outcomes of predictions, by the id column of the dataset. They are stored when they arrive; the newest for an id counts.',
  'labels-arrived.model': 'Name of the model',
  'labels-arrived.labels': 'Outcomes',
  'labels-arrived.labels[].id': 'Value of the id column',
  'labels-arrived.labels[].label': 'What came true: the value of the label, a class or a number',
  'labels-arrived.labels[].time':
    'When it became known; when left out, the time of the event, and without one when that was published',

  'drift-detected':
    'Drift of a model. Sweeps publish it with the verdict `suspected` or `confirmed`; outside detectors may publish it too. `confirmed` counts at once; without a verdict `confirm_drift` decides.',
  'drift-detected.model': 'Name of the model',
  'drift-detected.version':
    'Version that it speaks of; refused when that is not the champion. Left out, it speaks of the version that serves when the event comes',
  'drift-detected.kind': 'What drifted: inputs, outputs, or the relation of both to the outcome',
  'drift-detected.window': 'Window that was looked at, half-open',
  'drift-detected.window.start': 'Start, inclusive',
  'drift-detected.window.end': 'End, exclusive',
  'drift-detected.features': 'Features that drifted',
  'drift-detected.features[].name': 'Name of the feature',
  'drift-detected.features[].test': 'Name of the test',
  'drift-detected.features[].score': 'Value of the test',
  'drift-detected.features[].pValue': 'Where the test has one',
  'drift-detected.features[].threshold': 'Score from which it counts as drifted',
  'drift-detected.verdict': 'What the detector makes of it',
  'drift-detected.reportUri': 'Where a report lies; only kept',

  'prediction-logged':
    'One answered row, written by the inference servers. The gateway gathers these records into Parquet files, which the sweeps read.',
  'prediction-logged.model': 'Name of the model',
  'prediction-logged.version': 'Version that answered',
  'prediction-logged.deployment': 'Deployment of the plan in force',
  'prediction-logged.role': 'Role in which it answered',
  'prediction-logged.requestId': 'Id of the request',
  'prediction-logged.row': 'Index of the row in the request',
  'prediction-logged.id': 'Value of the id column, where the request has it; joins outcomes later',
  'prediction-logged.time': 'When it was answered',
  'prediction-logged.source': 'Source columns as they came',
  'prediction-logged.output': 'Probabilities of the classes, or the prediction; empty for a failure',
  'prediction-logged.latencyMs': 'Time in features and model',
  'prediction-logged.error': 'Why the version failed',
};

interface LifecycleEntry {
  readonly when: string;
  readonly data: readonly string[];
}

export const LIFECYCLE_DATA: Readonly<Record<(typeof LIFECYCLE_EVENTS)[number], LifecycleEntry>> = {
  'run.started': {
    when: 'a run was opened',
    data: ['run', 'trigger', 'requester', 'reason', 'definition', 'events', 'openedBy'],
  },
  'run.finished': {
    when: 'a run has its outcome',
    data: ['run', 'outcome', 'reason', 'stage', 'trigger', 'version', 'bundleDigest', 'metric', 'failedGates'],
  },
  'approval.requested': {
    when: 'a candidate waits for a decision',
    data: ['run', 'version', 'bundleDigest', 'required', 'expiresAt'],
  },
  'approval.decided': {
    when: 'a decision was accepted (a refused one is in the audit only)',
    data: ['run', 'version', 'requestId', 'actor', 'decision', 'bundleDigest', 'reason', 'via', 'settles', 'detail'],
  },
  'version.registered': {
    when: 'a run has passed its gates',
    data: ['version', 'run', 'bundleDigest', 'role', 'snapshot', 'metric'],
  },
  'rollout.step': {
    when: 'a traffic plan was written',
    data: ['deployment', 'revision', 'run', 'entries', 'bundles', 'step', 'detail'],
  },
  'version.promoted': {
    when: 'a rollout has made its version champion',
    data: [
      'deployment',
      'kind',
      'run',
      'from',
      'to',
      'version',
      'bundleDigest',
      'approvedBy',
      'reason',
      'revision',
      'entries',
    ],
  },
  'version.rolledback': {
    when: 'a rollout was rolled back, or a rollback has made an earlier version champion',
    data: ['deployment', 'kind', 'run', 'from', 'to', 'bundleDigest', 'reason'],
  },
  'alert.raised': {
    when: 'a person should look, for instance at a step without enough requests',
    data: ['deployment', 'step', 'text'],
  },
};

/** Variables whose comment in .env.example speaks for a group, or that have none. */
export const SETTING_DESCRIPTIONS: Readonly<Record<string, string>> = {
  REFIT_TOPIC_PREFIX: 'What topic names and consumer groups start with.',
  REFIT_DATABASE_URL:
    'The registry: `file:PATH` of a SQLite file, or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `schema`, `sslmode` (`disable`, `require`, `verify-ca`, `verify-full`), `sslrootcert` and `options` as parameters. Default: `refit.db` in `REFIT_HOME`.',
  REFIT_ARTIFACTS_URL:
    'The artifact store: `file:PATH` of a folder, or `s3://BUCKET/PREFIX`. Default: `artifacts` in `REFIT_HOME`.',
  REFIT_ARTIFACTS_CACHE: 'How much of an artifact store on S3 is kept on this disk, in `REFIT_HOME`.',
  AWS_ENDPOINT_URL_S3: 'Endpoint of S3, for data and the artifact store; `AWS_ENDPOINT_URL` as well. Default: AWS.',
  AWS_ACCESS_KEY_ID:
    'Its access key. Without one, whatever AWS’s own tools find: `AWS_PROFILE`, a role of the pod, the container or the instance; where there is none, requests are not signed.',
  AWS_SECRET_ACCESS_KEY: 'Its secret',
  AWS_SESSION_TOKEN: 'Its token, where the key is a temporary one',
  AWS_REGION: 'Its region; `AWS_DEFAULT_REGION` as well',
  REFIT_TEMPORAL_PORT: 'Temporal of the local stack',
  REFIT_TEMPORAL_UI_PORT: 'Its UI',
  REFIT_KAFKA_PORT: 'Kafka of the local stack',
  REFIT_GATEWAY_PORT: 'HTTP of the gateway: events, API, health, metrics',
  REFIT_SERVE_PORT: 'HTTP of the inference server',
  TEMPORAL_ADDRESS:
    'HOST:PORT of a Temporal server; with it `refit up` starts none of its own. Default: `127.0.0.1:REFIT_TEMPORAL_PORT`.',
  TEMPORAL_NAMESPACE: 'Namespace',
  TEMPORAL_API_KEY: 'API key; turns TLS on unless `TEMPORAL_TLS` is false',
  TEMPORAL_TLS: 'true or false. Default: true when one of the settings below, or an API key, is given.',
  TEMPORAL_TLS_SERVER_NAME: 'Name that the certificate of the server must have',
  TEMPORAL_TLS_SERVER_CA_CERT_PATH: 'Certificate authority of the server',
  TEMPORAL_TLS_CLIENT_CERT_PATH: 'Client certificate; needs the key too',
  TEMPORAL_TLS_CLIENT_KEY_PATH: 'Key of the client certificate',
  KAFKA_BROKERS:
    'HOST:PORT, separated by commas; with it `refit up` starts no Kafka of its own. Default: `127.0.0.1:REFIT_KAFKA_PORT`.',
  KAFKA_CLIENT_ID: 'How brokers see this client in their logs and quotas',
  KAFKA_SASL_MECHANISM: 'plain, scram-sha-256 or scram-sha-512. Default: plain, once a user is given.',
  KAFKA_SASL_USERNAME: 'User; needs the password too',
  KAFKA_SASL_PASSWORD: 'Password',
  KAFKA_SSL: 'true or false. Default: true when one of the settings below is given.',
  KAFKA_SSL_CA_PATH: 'Certificate authority of the brokers',
  KAFKA_SSL_CERT_PATH: 'Client certificate; needs the key too',
  KAFKA_SSL_KEY_PATH: 'Key of the client certificate',
};
