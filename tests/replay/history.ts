/**
 * Reads a history as Temporal's tools write it. The SDK's own reader takes types and parser from two copies of protobufjs
 * where an install has both, and those do not know each other; this one takes both from one.
 */
import { createRequire } from 'node:module';

interface ProtoJson {
  readonly fromJson: (type: object, json: unknown, options: { readonly ignoreUnknownFields: boolean }) => object | null;
}
interface ProtoRoot {
  readonly lookupType: (name: string) => object;
}

const ofCommon = createRequire(createRequire(import.meta.url).resolve('@temporalio/common'));
const ofProto = createRequire(ofCommon.resolve('@temporalio/proto'));
const { fromJson }: ProtoJson = ofProto('protobufjs/ext/protojson');
const { patchProtobufRoot }: { readonly patchProtobufRoot: (root: object) => ProtoRoot } = ofCommon(
  '@temporalio/proto/lib/patch-protobuf-root',
);
const historyType = patchProtobufRoot(ofCommon('@temporalio/proto')).lookupType('temporal.api.history.v1.History');

export function historyOf(json: unknown): object {
  const history = fromJson(historyType, json, { ignoreUnknownFields: true });
  if (history === null) throw new Error('the history is empty');
  return history;
}
