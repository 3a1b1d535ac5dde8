/** A registered version's content: what is judged is what ships. */
import type { FeatureColumn, SourceColumn } from './data.ts';
import type { Task } from './values.ts';

/** Its canonical JSON's sha256 is the bundle digest that approvals are bound to. */
export interface BundleManifest {
  readonly model: string;
  readonly task: Task;
  readonly onnx: string;
  readonly featuresSql: string;
  readonly labelSql: string;
  readonly features: readonly FeatureColumn[];
  readonly source: readonly SourceColumn[];
  readonly classes: readonly string[];
  /** Column whose value joins outcomes to predictions. */
  readonly idColumn: string | null;
}
