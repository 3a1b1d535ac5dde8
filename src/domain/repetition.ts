/** Whether a run came out as the one that it repeats, and if not, what was other. Pure. */

export interface Repeatable {
  readonly definitionDigest: string;
  readonly datasetVersion: number | null;
  readonly snapshot: string | null;
  readonly training: { readonly onnx: string; readonly environment: Readonly<Record<string, string>> } | null;
  readonly metric: { readonly name: string; readonly value: number } | null;
}

const or = (value: string | number | null | undefined, otherwise: string): string => String(value ?? otherwise);

/**
 * One sentence for each difference, inputs before what follows from them; empty where both gave the same ONNX file. A run that has not come
 * so far has no difference yet.
 */
export function repetitionDifferences(before: Repeatable, now: Repeatable): readonly string[] {
  const found: string[] = [];
  if (now.definitionDigest !== before.definitionDigest)
    found.push(`definition: ${before.definitionDigest}, now ${now.definitionDigest}`);
  if (now.snapshot === null) return found;
  if (before.datasetVersion !== null && now.datasetVersion !== before.datasetVersion)
    found.push(`dataset version: ${before.datasetVersion}, now ${or(now.datasetVersion, 'none')}`);
  if (now.snapshot !== before.snapshot)
    found.push(`snapshot: ${or(before.snapshot, 'none was made')}, now ${now.snapshot}`);
  if (now.training === null) return found;
  const environments = [before.training?.environment ?? {}, now.training.environment] as const;
  for (const name of [...new Set(environments.flatMap(Object.keys))].sort()) {
    const [old, recent] = [environments[0][name], environments[1][name]];
    if (before.training !== null && old !== recent)
      found.push(`environment: ${name} ${or(old, 'missing')}, now ${or(recent, 'missing')}`);
  }
  if (now.training.onnx !== before.training?.onnx)
    found.push(`ONNX file: ${or(before.training?.onnx, 'none was made')}, now ${now.training.onnx}`);
  if (before.metric && now.metric && before.metric.value !== now.metric.value)
    found.push(`${now.metric.name}: ${before.metric.value}, now ${now.metric.value}`);
  return found;
}
