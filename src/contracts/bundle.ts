/** A registered version's content: what is judged is what ships. */
import type { FeatureColumn, ResolvedJoin, SourceColumn } from './data.ts';
import type { Task } from './values.ts';

/** Its canonical JSON's sha256 is the bundle digest that approvals are bound to. */
export interface BundleManifest {
  readonly model: string;
  readonly task: Task;
  readonly onnx: string;
  readonly featuresSql: string;
  readonly labelSql: string;
  readonly features: readonly FeatureColumn[];
  /** Columns that features.sql reads, those of joins included. */
  readonly source: readonly SourceColumn[];
  readonly classes: readonly string[];
  /** Column whose value joins outcomes to predictions. */
  readonly idColumn: string | null;
  /** Absent without joins: what is looked up at serving time. */
  readonly joins?: readonly ResolvedJoin[];
}
