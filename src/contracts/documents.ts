/** The three kinds of documents of a model project: Dataset, Model, Policy. The reference docs and JSON Schema come from here. */
import { z } from 'zod';
import { durationSchema } from './duration.ts';
import { nameSchema } from './events.ts';
import { COLUMN_TYPES, METRICS, TASKS } from './values.ts';

export const API_VERSION = 'refit.dev/v1';

const share = z.number().min(0).max(1);
const column = z.string().min(1).max(128);
const severity = z
  .enum(['block', 'warn'])
  .default('block')
  .describe('block: the data is rejected; warn: it is only told');

/** A number, or a time such as 2013-07-04 or 2013-07-04T17:00:00Z. */
const bound = z.union([z.number(), z.iso.date(), z.iso.datetime({ offset: true })]);
const checked = column.describe('Column that is checked');

export const expectationSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('unique'), column, severity }),
  z.strictObject({ type: z.literal('not_null'), column, severity }),
  z.strictObject({ type: z.literal('null_share'), column, max: share, severity }),
  z.strictObject({ type: z.literal('between'), column, min: bound.optional(), max: bound.optional(), severity }),
  z.strictObject({
    type: z.literal('in'),
    column,
    values: z.array(z.union([z.string(), z.number()])).min(1),
    severity,
  }),
  z.strictObject({ type: z.literal('matches'), column, pattern: z.string(), severity }),
  z.strictObject({
    type: z.literal('rows'),
    min: z.int().nonnegative().optional(),
    max: z.int().nonnegative().optional(),
    severity,
  }),
  z.strictObject({
    type: z.literal('like_reference').describe('Tells the checks apart'),
    column: column.optional().describe('Column that is checked; all but id and time when left out'),
    max: z
      .number()
      .gt(0)
      .max(1)
      .default(0.1)
      .describe('Largest Jensen-Shannon distance (base 2) between the arrival and the version before'),
    severity,
  }),
  z.strictObject({
    type: z.literal('freshness').describe('Tells the checks apart'),
    max_age: durationSchema.describe('How old the newest event time may be when the event arrives'),
    severity,
  }),
  z.strictObject({
    type: z.literal('foreign_key').describe('Tells the checks apart'),
    column: checked,
    dataset: nameSchema.describe('Dataset whose newest version must have each value'),
    references: column.describe('Its column that has them'),
    severity,
  }),
  z.strictObject({
    type: z.literal('sql').describe('Tells the checks apart'),
    name: nameSchema.describe('How messages name the check'),
    sql: z.string().min(1).max(10_000).describe('A condition on a row, under the rules of `label.sql`; null passes'),
    severity,
  }),
]);
export type Expectation = z.infer<typeof expectationSchema>;

/** One character that a line of text can hold, and no line break. */
const character = z.string().regex(/^[^\r\n\0]$/, 'one character');

/** In the letters of strftime. A percent sign that DuckDB does not know is refused when the first file is read. */
const timeFormat = z
  .string()
  .max(64)
  .refine(
    (format) => [/%-?d/, /%-?m|%[bB]/, /%[yY]/].every((part) => part.test(format)),
    'day, month and year, such as %d.%m.%Y',
  );

export const csvSchema = z.strictObject({
  delimiter: z
    .string()
    .regex(/^[^\r\n\0"]{1,4}$/, 'one to four characters')
    .optional()
    .describe('Between two fields, such as ; or a tab'),
  quote: character.or(z.literal('')).optional().describe('Around a field; an empty text: fields are never quoted'),
  escape: character.optional().describe('Before a quote inside of a quoted field; by default the quote itself'),
  header: z.boolean().default(true).describe('false: the columns are named column0, column1, …'),
  encoding: z
    .enum(['utf-8', 'utf-16', 'latin-1'])
    .optional()
    .describe('By default UTF-8, or UTF-16 where the file begins with its byte order mark'),
  nulls: z
    .array(z.string().max(64))
    .min(1)
    .max(50)
    .optional()
    .describe('Texts that stand for no value; by default the empty one only'),
  decimal: z.enum(['.', ',']).optional().describe('Decimal separator of numbers'),
  date_format: timeFormat
    .optional()
    .describe('How all dates are written, such as %m/%d/%Y; needed where a file cannot tell days from months'),
  timestamp_format: timeFormat
    .optional()
    .describe('How all dates with a time of day are written, such as %m/%d/%Y %H:%M:%S'),
  skip: z.int().min(0).max(10_000).optional().describe('Lines before the header, such as a title'),
  comment: character.optional().describe('A line that begins with it is left out'),
});
export type CsvDialect = z.infer<typeof csvSchema>;

/** Variables that Refit and its servers use: a query must not send their values to a host of its choice. */
const QUERY_URL = /^\$\{(?!REFIT_|AWS_|KAFKA_|TEMPORAL_|OTEL_|NODE_)[A-Z][A-Z0-9_]*\}$/;

export const datasetQuerySchema = z
  .strictObject({
    name: nameSchema.describe('An event names it as `query:NAME`'),
    url: z
      .string()
      .regex(QUERY_URL, `a variable of the worker, written as $\{WAREHOUSE_URL}, and none of Refit’s own`)
      .describe(
        'Variable of the worker that holds postgres://USER:PASSWORD@HOST:PORT/DATABASE; it is read where the query runs, and never kept',
      ),
    table: z
      .string()
      .regex(/^[^".\0]{1,63}(\.[^".\0]{1,63})?$/, 'TABLE or SCHEMA.TABLE')
      .optional()
      .describe('All rows of this table or view'),
    sql: z
      .string()
      .min(1)
      .max(100_000)
      .optional()
      .describe(
        'One SELECT, in a read-only transaction; $1 is the partition of the event. ORDER BY makes its digest repeatable',
      ),
  })
  .refine((value) => (value.table === undefined) !== (value.sql === undefined), {
    message: 'exactly one of `table` and `sql`',
  });
export type DatasetQuery = z.infer<typeof datasetQuerySchema>;

const isPattern = (text: string): boolean => {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
};
/** `{uri}`, `{extra.path}`: what stands in the notification. */
const template = z.string().min(1).max(1_024);

export const arrivalSchema = z.discriminatedUnion('from', [
  z.strictObject({
    from: z
      .literal('s3')
      .describe('An object was created: notifications of S3, MinIO or versitygw, and of EventBridge'),
    bucket: z.string().min(3).max(63).describe('Name of the bucket'),
    prefix: z.string().max(1_024).default('').describe('Start of the key'),
    suffix: z.string().max(256).default('').describe('End of the key, such as .parquet'),
    partition: z
      .string()
      .max(256)
      .refine(isPattern, 'a regular expression')
      .optional()
      .describe(
        'Regular expression over the key; the group named `partition`, else the first, is the partition that the object replaces. Other keys are ignored. Left out: objects are appended',
      ),
  }),
  z.strictObject({
    from: z.literal('airflow').describe('An asset was updated: an asset event, as Airflow’s API and listeners give it'),
    asset: z.string().min(1).max(1_500).describe('URI or name of the asset'),
    uri: template
      .default('{uri}')
      .describe(
        'Address of the data, with parts of the event in braces: {uri}, {name}, {partition_key}, {source_run_id}, {extra.KEY}',
      ),
    partition: template.optional().describe('Partition that the data replaces, by the same braces'),
  }),
]);
export type ArrivalRule = z.infer<typeof arrivalSchema>;

export const datasetSchema = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal('Dataset'),
  name: nameSchema,
  owner: z.string().optional(),
  description: z.string().optional(),
  id: column.optional().describe('Column that names a row; needed for labels that arrive later'),
  time: column.optional().describe('Column with the event time; needed for windows, split by time and monitoring'),
  columns: z
    .record(column, z.enum([...COLUMN_TYPES, 'ignored']))
    .optional()
    .describe(
      'Types by column, where the first version shall not decide. A column that is named later becomes part of the dataset; one that is `ignored` may come or not, and is no part of it',
    ),
  expect: z.array(expectationSchema).default([]),
  arrivals: z
    .array(arrivalSchema)
    .max(100)
    .default([])
    .describe('Which notifications of object stores and of Airflow are arrivals of data'),
  queries: z
    .array(datasetQuerySchema)
    .max(100)
    .default([])
    .describe('Tables and queries of Postgres that arrivals may name'),
  csv: csvSchema.optional().describe('How CSV files are written; what is left out is detected in each file'),
});
export type DatasetDocument = z.infer<typeof datasetSchema>;

export const joinSchema = z.strictObject({
  dataset: nameSchema.describe('The dataset that is looked up; it needs a `time`'),
  as: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9_]{0,62}$/, 'a letter, then letters, digits and _')
    .optional()
    .describe('Name before the columns: `weather_temp`; by default the name of the dataset'),
  keys: z
    .record(column, column)
    .refine((keys) => Object.keys(keys).length > 0, 'at least one pair of columns')
    .describe('Columns of this dataset to columns of the other that must be equal'),
  columns: z.array(column).min(1).max(200).describe('Columns of the other dataset that features may read'),
  max_age: durationSchema.describe('A row that is older than this at the time of the own row is not taken: null'),
  delay: durationSchema
    .default('0s')
    .describe('How long after its time a row of the other dataset is known, in production; until then it is not taken'),
});
export type JoinDocument = z.infer<typeof joinSchema>;

const param = z.union([z.string(), z.number(), z.boolean(), z.null()]);

export const gateSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('minimum'), metric: z.enum(METRICS), value: z.number() }),
  z.strictObject({ type: z.literal('maximum'), metric: z.enum(METRICS), value: z.number() }),
  z.strictObject({
    type: z.literal('champion'),
    require: z.enum(['not_worse', 'better']).default('not_worse'),
    margin: z.number().nonnegative().default(0),
    confidence: z.number().min(0.5).max(0.999).default(0.95),
    min_rows: z.int().positive().default(500).describe('Fewer rows that neither model was trained on: inconclusive'),
  }),
  z.strictObject({
    type: z.literal('slice'),
    slice: column,
    metric: z.enum(METRICS),
    value: z.number(),
    min_rows: z.int().positive().default(100),
  }),
]);
export type GateDocument = z.infer<typeof gateSchema>;

export const rolloutStepSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('shadow'),
    hold: durationSchema.default('10m'),
    min_requests: z.int().nonnegative().default(100),
  }),
  z.strictObject({
    type: z.literal('canary'),
    weight: z.number().gt(0).lt(1).describe('Share of requests that the challenger answers'),
    hold: durationSchema.default('10m'),
    min_requests: z.int().nonnegative().default(100).describe('Requests of the challenger before the step is judged'),
  }),
]);
export type RolloutStep = z.infer<typeof rolloutStepSchema>;

export const modelSchema = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal('Model'),
  name: nameSchema,
  owner: z.string().optional(),
  description: z.string().optional(),
  task: z.enum(TASKS),
  dataset: nameSchema,
  label: z.strictObject({
    sql: z.string().min(1).describe('Expression over the source columns; null means not known yet'),
  }),
  features: z
    .union([z.string().endsWith('.sql'), z.array(column).min(1)])
    .describe('A file with one row-wise SELECT over `source`, or a list of columns'),
  joins: z
    .array(joinSchema)
    .max(16)
    .optional()
    .describe(
      'Columns of other datasets as they were known at the time of each row, for features: `AS_COLUMN` of `source`',
    ),
  window: durationSchema
    .optional()
    .describe('How far a run looks back from the newest event time; all rows when left out'),
  split: z
    .strictObject({
      type: z.enum(['time', 'random']).default('random'),
      test: share.default(0.2),
      validation: share.default(0.1),
      group: column
        .optional()
        .describe('Column of what must not be in two parts, such as a customer; its rows stay together'),
      folds: z
        .int()
        .min(2)
        .max(50)
        .optional()
        .describe('Folds for cross-validation over the train and validation rows, as column `__fold`'),
    })
    .prefault({}),
  serving: z.enum(['online', 'none']).default('online'),
  training: z
    .strictObject({
      trainer: z.enum(['lightgbm', 'sklearn']).optional(),
      command: z
        .array(z.string().min(1))
        .min(1)
        .optional()
        .describe('Any command that keeps the trainer contract, run in the project folder'),
      params: z.record(z.string(), param).default({}),
      seed: z.int().nonnegative().default(7),
      limits: z
        .strictObject({
          time: durationSchema.default('30m'),
          memory: z
            .string()
            .regex(/^\d+(MiB|GiB)$/, 'a size such as 512MiB or 4GiB')
            .default('4GiB'),
          cpu: z.int().positive().max(256).default(2),
        })
        .prefault({}),
      environment: z
        .strictObject({
          env: z
            .array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/))
            .default([])
            .describe('Variables that are passed through'),
        })
        .prefault({}),
    })
    .refine((value) => (value.trainer === undefined) !== (value.command === undefined), {
      message: 'exactly one of `trainer` and `command`',
    }),
  evaluation: z
    .strictObject({
      metric: z.enum(METRICS).optional().describe('Decides; by default roc_auc, log_loss or rmse, after the task'),
      slices: z.array(column).default([]),
    })
    .prefault({}),
  gates: z.array(gateSchema).default([]),
  approval: z
    .strictObject({
      required: z.int().min(1).max(10).default(1),
      remind: durationSchema.default('24h'),
      expires: durationSchema.default('7d'),
      on_expiry: z.enum(['reject']).default('reject'),
      on_newer: z.enum(['supersede', 'hold']).default('supersede'),
    })
    .prefault({}),
  rollout: z
    .strictObject({
      type: z.enum(['canary', 'immediate']).default('canary'),
      steps: z.array(rolloutStepSchema).default([]),
      analysis: z
        .strictObject({
          error_rate: z
            .strictObject({ max_increase: share.default(0.01) })
            .prefault({})
            .describe('Absolute increase over the champion'),
          latency_p95: z.strictObject({ max_ratio: z.number().positive().default(1.5) }).prefault({}),
        })
        .prefault({}),
      patience: durationSchema
        .default('1h')
        .describe('How long after its hold a step may lack requests before the rollout pauses and says so'),
    })
    .prefault({}),
  monitoring: z
    .strictObject({
      every: durationSchema.default('1h'),
      window: durationSchema.default('24h'),
      min_rows: z.int().positive().default(500),
      threshold: z
        .number()
        .positive()
        .default(0.1)
        .describe('Jensen-Shannon distance of a feature from which it counts as drifted'),
      share: share.default(0.1).describe('Share of drifted features from which a window is suspected'),
      performance: z
        .strictObject({
          max_drop: z
            .number()
            .nonnegative()
            .default(0.05)
            .describe('Loss of the deciding metric against its evaluation, once outcomes are known'),
          min_labels: z.int().positive().default(300),
        })
        .prefault({}),
      skew: z
        .strictObject({
          max_share: share
            .default(0.01)
            .describe(
              'Share of predictions with another feature than the raw data gives, from which an alert is raised',
            ),
          lookback: durationSchema
            .default('7d')
            .describe('How far back predictions are compared, since the raw data comes after them'),
        })
        .optional()
        .describe('Compares what was served with what the dataset has for the same ids, in each sweep; needs `id`'),
    })
    .optional(),
  retraining: z
    .strictObject({
      triggers: z.array(z.enum(['data', 'drift', 'definition'])).default(['data', 'drift']),
      debounce: durationSchema.default('2m'),
      max_wait: durationSchema.default('30m'),
      cooldown: durationSchema
        .default('0s')
        .describe(
          'Least time between the end of a run, or since when its candidate waits for approval, and the start of the next; the end of one that gave way does not count',
        ),
      min_new_rows: z
        .int()
        .nonnegative()
        .default(0)
        .describe('Rows that must have arrived before data alone starts a run; the first run does not wait for them'),
      min_new_outcomes: z
        .int()
        .nonnegative()
        .default(0)
        .describe(
          'Labels that must have come since the last run as well before data alone starts a run; counted every five minutes',
        ),
      schedule: z
        .strictObject({
          cron: z.string().min(1).describe('Five fields: minute, hour, day of month, month, day of week'),
          timezone: z.string().min(1).default('UTC').describe('IANA name, such as Europe/Berlin'),
        })
        .optional()
        .describe(
          'Starts a run at these moments, with whatever data there is; pause, cooldown and budget hold it back',
        ),
      confirm_drift: z
        .strictObject({ windows: z.int().positive().default(2), of: z.int().positive().default(3) })
        .prefault({}),
      budget: z
        .strictObject({
          runs_per_day: z.int().positive().optional(),
          cpu_hours_per_day: z
            .number()
            .positive()
            .optional()
            .describe(
              'A run reserves training.limits.time on training.limits.cpu cores before it starts, and is charged what it took after',
            ),
        })
        .refine((value) => value.runs_per_day !== undefined || value.cpu_hours_per_day !== undefined, {
          message: 'runs_per_day or cpu_hours_per_day',
        })
        .optional()
        .describe('Over the last 24 hours; what a person starts is counted but not held back'),
    })
    .prefault({}),
  notify: z
    .array(
      z.strictObject({
        events: z.array(z.string()).min(1),
        type: z.literal('log').describe('Told as a warning in the log of the worker'),
      }),
    )
    .default([]),
});
export type ModelDocument = z.infer<typeof modelSchema>;

export const policySchema = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal('Policy'),
  name: nameSchema,
  models: z.array(z.string().min(1)).default(['*']).describe('Model names; * stands for any characters'),
  approvers: z.array(z.string().min(1).max(128)).min(1),
  requester_may_approve: z.boolean().default(false),
});
export type PolicyDocument = z.infer<typeof policySchema>;

export const documentSchema = z.discriminatedUnion('kind', [datasetSchema, modelSchema, policySchema]);
export type Document = z.infer<typeof documentSchema>;
