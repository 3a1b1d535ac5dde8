/** What a person sees of a workflow in Temporal's UI: search attributes and current details. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { upsertSearchAttributes } from '@temporalio/workflow';
import type { Stage, Trigger } from '../src/contracts/values.ts';

const KEYS = {
  model: defineSearchAttributeKey('RefitModel', SearchAttributeType.KEYWORD),
  stage: defineSearchAttributeKey('RefitStage', SearchAttributeType.KEYWORD),
  trigger: defineSearchAttributeKey('RefitTrigger', SearchAttributeType.KEYWORD),
  version: defineSearchAttributeKey('RefitVersion', SearchAttributeType.INT),
  outcome: defineSearchAttributeKey('RefitOutcome', SearchAttributeType.KEYWORD),
};

export interface Shown {
  readonly model?: string;
  readonly stage?: Stage;
  readonly trigger?: Trigger;
  readonly version?: number;
  readonly outcome?: string;
}

export function show(shown: Shown): void {
  upsertSearchAttributes([
    ...(shown.model === undefined ? [] : [{ key: KEYS.model, value: shown.model }]),
    ...(shown.stage === undefined ? [] : [{ key: KEYS.stage, value: shown.stage }]),
    ...(shown.trigger === undefined ? [] : [{ key: KEYS.trigger, value: shown.trigger }]),
    ...(shown.version === undefined ? [] : [{ key: KEYS.version, value: shown.version }]),
    ...(shown.outcome === undefined ? [] : [{ key: KEYS.outcome, value: shown.outcome }]),
  ]);
}
