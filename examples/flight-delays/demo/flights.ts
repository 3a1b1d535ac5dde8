/** The flights as callers and publishers see them: rows for requests, outcomes for labels. */
import { DuckDBInstance } from '@duckdb/node-api';

const COLUMNS = [
  'scheduled_at',
  'day_of_week',
  'hour',
  'minute',
  'carrier',
  'origin',
  'dest',
  'distance',
  'plane_year',
  'plane_seats',
  'temp',
  'humid',
  'wind_speed',
  'precip',
  'pressure',
  'visib',
] as const;
const DATATYPES: Readonly<Record<string, string>> = {
  scheduled_at: 'BYTES',
  carrier: 'BYTES',
  origin: 'BYTES',
  dest: 'BYTES',
  flight_id: 'BYTES',
  day_of_week: 'INT64',
  hour: 'INT64',
  minute: 'INT64',
  distance: 'INT64',
  plane_year: 'INT64',
  plane_seats: 'INT64',
};

export interface Flight {
  readonly id: string;
  readonly values: Readonly<Record<string, string | number | null>>;
  /** Late by more than 15 minutes; null when never known (cancelled, diverted). */
  readonly late: boolean | null;
}

export const monthFile = (folder: string, month: number): string => `${folder}/data/flights-2013-0${month}.parquet`;

export async function readFlights(path: string): Promise<readonly Flight[]> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  try {
    const columns = COLUMNS.map((name) =>
      name === 'scheduled_at' ? `strftime(scheduled_at, '%Y-%m-%dT%H:%M:%SZ') AS scheduled_at` : name,
    );
    const reader = await connection.runAndReadAll(
      `SELECT flight_id, arr_delay, ${columns.join(', ')} FROM read_parquet('${path.replaceAll("'", "''")}') ORDER BY scheduled_at, flight_id`,
    );
    return reader.getRowObjectsJson().map((row) => {
      const delay = row.arr_delay;
      const values = Object.fromEntries(COLUMNS.map((name) => [name, (row[name] ?? null) as string | number | null]));
      return { id: row.flight_id as string, values, late: typeof delay === 'number' ? delay > 15 : null };
    });
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** A request of the Open Inference Protocol for these flights. */
export function inferRequest(flights: readonly Flight[], id: string) {
  const tensor = (name: string, data: readonly (string | number | null)[]) => ({
    name,
    shape: [flights.length],
    datatype: DATATYPES[name] ?? 'FP64',
    data,
  });
  return {
    id,
    inputs: [
      tensor(
        'flight_id',
        flights.map((flight) => flight.id),
      ),
      ...COLUMNS.map((name) =>
        tensor(
          name,
          flights.map((flight) => flight.values[name] ?? null),
        ),
      ),
    ],
  };
}
