/** What object stores and Airflow send, as they send it, becomes arrivals by the rules that datasets declare. */
import { describe, expect, it } from 'vitest';
import { type ArrivalRule, arrivalSchema } from '../../src/contracts/documents.ts';
import { judgeNotification } from '../../src/gateway/notifications/consume.ts';

const rule = (given: object): ArrivalRule => arrivalSchema.parse(given);
const sales = {
  name: 'sales',
  arrivals: [
    rule({ from: 's3', bucket: 'lake', prefix: 'sales/', suffix: '.parquet', partition: 'day=(?<partition>[0-9-]+)/' }),
    rule({
      from: 'airflow',
      asset: 's3://lake/sales',
      uri: 's3://lake/sales/day={extra.day}/*.parquet',
      partition: '{extra.day}',
    }),
  ],
};
const all = {
  name: 'all',
  arrivals: [rule({ from: 's3', bucket: 'lake' }), rule({ from: 'airflow', asset: 'stock' })],
};
const judge = (message: unknown, datasets = [sales]) =>
  judgeNotification(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), datasets);

/** As Amazon documents it, version 2.1. */
const aws = (key: string, more: object = {}, eventName = 'ObjectCreated:Put') => ({
  Records: [
    {
      eventVersion: '2.1',
      eventSource: 'aws:s3',
      awsRegion: 'us-west-2',
      eventTime: '2024-01-02T03:04:05.678Z',
      eventName,
      userIdentity: { principalId: 'AIDAJDPLRKLG7UEXAMPLE' },
      requestParameters: { sourceIPAddress: '127.0.0.1' },
      responseElements: {
        'x-amz-request-id': 'C3D13FE58DE4C810',
        'x-amz-id-2': 'FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD',
      },
      s3: {
        s3SchemaVersion: '1.0',
        configurationId: 'testConfigRule',
        bucket: { name: 'lake', ownerIdentity: { principalId: 'A3NL1KOZZKExample' }, arn: 'arn:aws:s3:::lake' },
        object: { key, size: 1024, eTag: 'd41d8cd98f00b204e9800998ecf8427e', sequencer: '0055AED6DCD90281E5', ...more },
      },
    },
  ],
});
const KEY = 'sales/day%3D2024-01-02/part+1.parquet';
const DATA = { dataset: 'sales', uris: ['s3://lake/sales/day=2024-01-02/part 1.parquet'], partition: '2024-01-02' };
/** As MinIO sends it: other words for the event, and a summary around it. */
const minio = {
  EventName: 's3:ObjectCreated:Put',
  Key: 'lake/sales/day=2024-01-02/part 1.parquet',
  Records: [
    {
      eventVersion: '2.0',
      eventSource: 'minio:s3',
      awsRegion: '',
      eventTime: '2024-01-02T03:04:05.678Z',
      eventName: 's3:ObjectCreated:Put',
      userIdentity: { principalId: 'minio' },
      requestParameters: { principalId: 'minio', region: '', sourceIPAddress: '127.0.0.1' },
      responseElements: {
        'x-amz-request-id': '16F4F2B6A1',
        'x-minio-deployment-id': '9a0d',
        'x-minio-origin-endpoint': 'http://127.0.0.1:9000',
      },
      s3: {
        s3SchemaVersion: '1.0',
        configurationId: 'Config',
        bucket: { name: 'lake', ownerIdentity: { principalId: 'minio' }, arn: 'arn:aws:s3:::lake' },
        object: {
          key: KEY,
          size: 12,
          eTag: 'd41d',
          contentType: 'application/octet-stream',
          userMetadata: { 'content-type': 'application/octet-stream' },
          sequencer: '16F4F2B6A1B2',
        },
      },
      source: { host: '127.0.0.1', port: '', userAgent: 'MinIO' },
    },
  ],
};
const bridge = {
  ...{ version: '0', id: '17793124-05d4-b198-2fde-7ededc63b103', 'detail-type': 'Object Created', source: 'aws.s3' },
  ...{
    account: '111122223333',
    time: '2024-01-02T03:04:05Z',
    region: 'ca-central-1',
    resources: ['arn:aws:s3:::lake'],
  },
  detail: {
    version: '0',
    bucket: { name: 'lake' },
    object: {
      key: 'sales/day=2024-01-02/part 1.parquet',
      size: 5,
      etag: 'b1946ac9',
      'version-id': 'IYV3p45BT0ac8hjHg1houSdS1a.Mro8e',
      sequencer: '617f08299329d189',
    },
    ...{
      'request-id': 'N4N7GDK58NMKJ12R',
      requester: '123456789012',
      'source-ip-address': '1.2.3.4',
      reason: 'PutObject',
    },
  },
};
/** As Airflow's API lists asset events. */
const airflow = {
  ...{ id: 12, asset_id: 3, uri: 's3://lake/sales', name: 'sales', group: 'asset', extra: { day: '2024-01-02' } },
  ...{
    source_task_id: 'write',
    source_dag_id: 'sales_daily',
    source_run_id: 'scheduled__2024-01-02T00:00:00+00:00',
    source_map_index: -1,
  },
  ...{ created_dagruns: [], timestamp: '2024-01-02T03:04:05.678000Z', partition_key: null },
};

describe('an object of S3', () => {
  it.each([
    ['AWS', aws(KEY)],
    ['MinIO', minio],
    ['EventBridge', bridge],
    [
      'AWS by SNS',
      { Type: 'Notification', MessageId: '1', TopicArn: 'arn:aws:sns:x', Message: JSON.stringify(aws(KEY)) },
    ],
    ['versitygw, multipart', aws(KEY, {}, 's3:ObjectCreated:CompleteMultipartUpload')],
  ])('by %s', (_name, message) => {
    expect(judge(message)).toMatchObject({
      noted: { fate: 'acted_on', reason: expect.stringMatching(/^became [0-9a-f]{32} of dataset sales$/) },
      events: [{ type: 'dev.refit.data.arrived.v1', subject: 'sales', source: 'refit/notifications/s3', data: DATA }],
    });
  });

  const idsOf = (...given: Parameters<typeof judge>): readonly string[] => {
    const judged = judge(...given);
    return 'events' in judged ? judged.events.map(({ id }) => id) : [];
  };
  it('the same version of it is the same event, another version another one', () => {
    const versioned = (versionId: string, sequencer: string) => aws(KEY, { versionId, sequencer });
    expect(idsOf(aws(KEY))).toEqual(idsOf(aws(KEY)));
    expect(idsOf(aws(KEY, { sequencer: '1' }))).not.toEqual(idsOf(aws(KEY, { sequencer: '2' })));
    expect(idsOf(versioned('a', '1'))).toEqual(idsOf(versioned('a', '2')));
    expect(idsOf(versioned('a', '1'))).not.toEqual(idsOf(versioned('b', '1')));
    // It is stored for years.
    expect(idsOf(versioned('a', '1'))).toEqual(['403fd9d254fa4b334722e404f238e8b4']);
  });
  it('for each dataset that declares it, and each object of the message', () => {
    const two = { Records: [...aws(KEY).Records, ...aws('other.csv').Records] };
    const judged = judge(two, [sales, all]);
    expect('events' in judged && judged.events.map(({ data }) => [data.dataset, data.uris[0], data.partition])).toEqual(
      [
        ['sales', DATA.uris[0], '2024-01-02'],
        ['all', DATA.uris[0], undefined],
        ['all', 's3://lake/other.csv', undefined],
      ],
    );
    expect(new Set(idsOf(two, [sales, all])).size).toBe(3);
  });
});

describe('an asset of Airflow', () => {
  it('by its event, alone or in a list', () => {
    const event = {
      source: 'refit/notifications/airflow',
      data: { dataset: 'sales', uris: ['s3://lake/sales/day=2024-01-02/*.parquet'], partition: '2024-01-02' },
    };
    expect(judge(airflow)).toMatchObject({ noted: { fate: 'acted_on' }, events: [event] });
    expect(judge({ asset_events: [airflow], total_entries: 1 })).toMatchObject({ events: [event] });
    expect(judge({ ...airflow, uri: 's3://lake/stock', name: 'stock' }, [all])).toMatchObject({
      events: [{ data: { dataset: 'all', uris: ['s3://lake/stock'] } }],
    });
  });
});

describe('what brings nothing is ignored, with the reason', () => {
  it.each([
    ['a key elsewhere', aws('stock/a.parquet'), /s3:\/\/lake\/stock\/a\.parquet: no dataset declares it/],
    [
      'a key without its partition',
      aws('sales/a.parquet'),
      /dataset sales: the key sales\/a\.parquet has no partition/,
    ],
    ['a key that would be a pattern', aws('sales/day%3D1/*.parquet'), /holds \*/],
    ['a deletion', aws(KEY, {}, 's3:ObjectRemoved:Delete'), /ObjectRemoved:Delete of .* brings no data/],
    ['a deletion by EventBridge', { ...bridge, 'detail-type': 'Object Deleted' }, /Object Deleted/],
    [
      'a test',
      { Service: 'Amazon S3', Event: 's3:TestEvent', Time: '2024-01-02T03:04:05Z', Bucket: 'lake' },
      /TestEvent/,
    ],
    ['another asset', { ...airflow, uri: 'x', name: 'y' }, /asset x: no dataset declares it/],
    ['an asset event without what the template wants', { ...airflow, extra: {} }, /has no extra\.day/],
    [
      'a template that reaches for what is no field',
      { ...airflow, extra: { day: { constructor: 1 } } },
      /has no extra\.day/,
    ],
  ])('%s', (_name, message, reason) => {
    expect(judge(message)).toMatchObject({
      events: [],
      noted: { fate: 'ignored', reason: expect.stringMatching(reason) },
    });
  });
});

describe('what is none is a dead letter', () => {
  it.each([
    ['no JSON', '{', 'json'],
    ['a list', '[]', 'data'],
    ['a text', '"x"', 'data'],
    ['something else', { hello: 1 }, 'data'],
    ['no records', { Records: [] }, 'data'],
    [
      'a record without its object',
      { Records: [{ eventName: 'ObjectCreated:Put', s3: { bucket: { name: 'lake' } } }] },
      'data',
    ],
    ['a key that is not encoded', aws('sales/%zz.parquet'), 'data'],
    ['an event of no asset', { timestamp: '2024-01-02T03:04:05Z' }, 'data'],
    ['too deep', `${'{"a":'.repeat(50)}1${'}'.repeat(50)}`, 'json'],
    ['NUL', { uri: 'a\0b', timestamp: '1' }, 'json'],
    ['too large', { uri: 'x'.repeat(300_000), timestamp: '1' }, 'oversized'],
  ])('%s', (_name, message, reason) => {
    expect(judge(message)).toMatchObject({ malformed: { reason } });
  });
  it('nothing at all', () =>
    expect(judgeNotification(null, [sales])).toMatchObject({ malformed: { reason: 'tombstone' } }));
});
