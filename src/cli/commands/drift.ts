/** refit drift: the sweeps of a model, and the comparison of two files. */
import type { Command } from '@commander-js/extra-typings';
import type { FeatureDrift, SkewRecord, SweepRecord } from '../../ports/registry/monitoring.ts';
import { modelPath } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { JSON_OPTION, numberOf, print, printJson, table, when } from '../output.ts';

function featureTable(features: readonly FeatureDrift[]): string {
  const sorted = [...features].sort((a, b) => b.score / b.threshold - a.score / a.threshold);
  const rows = sorted.map((one) => [
    one.name,
    one.test,
    one.score.toFixed(4),
    one.threshold,
    one.drifted ? 'drifted' : '',
  ]);
  return table(['column', 'test', 'score', 'threshold', ''], rows);
}

function skewText(skew: SkewRecord): string {
  if (skew.problem !== null) return `skew: cannot be looked for: ${skew.problem}`;
  if (skew.rows === 0)
    return `skew: no prediction since ${when(skew.since)} has its raw data in version ${skew.datasetVersion} yet`;
  const share = ((100 * skew.differing) / skew.rows).toFixed(2);
  const verdict = skew.skewed ? `more than ${100 * skew.maxShare} %` : 'within bounds';
  return `skew: ${skew.differing} of ${skew.rows} predictions since ${when(skew.since)} were served other features than the data gives (${share} %, ${verdict})`;
}

function skewTable({ features }: SkewRecord): string {
  const rows = features.flatMap((one) => {
    const [first, ...others] = one.examples.map(({ id, served, recomputed }) => [id, served, recomputed]);
    return [
      [one.name, one.differing, ((100 * one.differing) / one.rows).toFixed(2), one.largest ?? '', ...(first ?? [])],
      ...others.map((example) => ['', '', '', '', ...example]),
    ];
  });
  return table(['feature', 'rows', '%', 'largest', 'for example', 'served', 'from the data'], rows);
}

export function driftCommands(program: Command, { api, exit }: Context): void {
  const drift = program.command('drift').description('the last sweeps of a model; `drift compare` compares two files');
  drift
    .command('show', { isDefault: true })
    .description('the last sweeps, by feature, with the verdict')
    .argument('<model>')
    .option(...JSON_OPTION)
    .action(async (model, { json }) => {
      const sweeps = await api.get<SweepRecord[]>(`${modelPath(model)}/drift`, { limit: 20 });
      if (json) return printJson(sweeps);
      if (sweeps.length === 0) return print('no sweep yet');
      const rows = sweeps.map((one) => [
        when(one.windowEnd),
        one.version,
        one.rows,
        one.labelled,
        one.verdict,
        one.reason,
      ]);
      print(table(['window end', 'version', 'rows', 'outcomes', 'verdict', 'why'], rows));
      const latest = sweeps.find((sweep) => sweep.features.length > 0);
      if (latest) print(featureTable(latest.features));
      const skew = sweeps.find((sweep) => sweep.skew)?.skew;
      if (skew) print(skewText(skew));
    });
  drift
    .command('skew')
    .description(
      'features that were served beside those that the data gives by now, as the last sweep found; exit 1 where too many differ',
    )
    .argument('<model>')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nNeeds `monitoring.skew` in the Model document.\n')
    .action(async (model, { json }) => {
      const sweeps = await api.get<SweepRecord[]>(`${modelPath(model)}/drift`, { limit: 20 });
      const skew = sweeps.find((sweep) => sweep.skew)?.skew;
      if (json) printJson(skew ?? null);
      else if (!skew)
        print(`no sweep of ${model} has looked for skew yet; \`monitoring.skew\` of its document asks for it`);
      else {
        print(skewText(skew));
        if (skew.features.length > 0) print(skewTable(skew));
      }
      if (skew?.skewed) exit(EXIT.no);
    });
  drift
    .command('compare')
    .description('compare two files column by column, without any service; exit 1 where something drifted')
    .argument('<reference>', 'a Parquet, CSV or JSON Lines file')
    .argument('<current>', 'another one')
    .option('--threshold <x>', 'Jensen-Shannon distance from which a column counts as drifted', '0.1')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit drift compare january.parquet july.parquet\n')
    .action(async (reference, current, { threshold, json }) => {
      const bound = numberOf('--threshold', threshold);
      if (bound <= 0) throw new CliError(EXIT.usage, '--threshold must be above 0');
      const { compareFiles } = await import('../compare.ts');
      const features = await compareFiles(reference, current, bound);
      if (json) printJson(features);
      else print(featureTable(features));
      if (features.some((feature) => feature.drifted)) exit(EXIT.no);
    });
}
