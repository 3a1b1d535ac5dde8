/** Which version answers a request. Pure: the plan and the request's id decide, on every replica alike. */
import type { PlanEntry, TrafficPlan } from '../contracts/plan.ts';

/** 32 bits of MurmurHash3 over a text's UTF-16 units: even enough to split traffic, and cheap. */
function hash(text: string): number {
  let state = 0;
  for (let index = 0; index < text.length; index += 1) {
    let unit = Math.imul(text.charCodeAt(index), 0xcc9e2d51);
    unit = (unit << 15) | (unit >>> 17);
    state ^= Math.imul(unit, 0x1b873593);
    state = (state << 13) | (state >>> 19);
    state = (Math.imul(state, 5) + 0xe6546b64) | 0;
  }
  state ^= text.length;
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) >>> 0;
}

/** A caller's place in [0, 1): fixed within a deployment, drawn anew in the next, so that nobody is always the canary. */
export const placeOf = (deployment: number, requestId: string): number =>
  hash(`${deployment}:${requestId}`) / 4_294_967_296;

export interface Route {
  readonly champion: PlanEntry;
  /** Answers in place of the champion; null for the others. */
  readonly canary: PlanEntry | null;
  readonly shadows: readonly PlanEntry[];
}

/**
 * null without a champion. `usable` says which versions are loaded; `championOnly` is set while the registry is away. The canary takes
 * the lowest places, so a caller that it once answered stays with it while its share grows.
 */
export function routeOf(
  plan: TrafficPlan,
  requestId: string,
  usable: (version: number) => boolean,
  championOnly: boolean,
): Route | null {
  const champion = plan.entries.find((entry) => entry.role === 'champion');
  if (champion === undefined || !usable(champion.version)) return null;
  if (championOnly) return { champion, canary: null, shadows: [] };
  const canary = plan.entries.find((entry) => entry.role === 'canary' && usable(entry.version));
  const chosen = canary !== undefined && placeOf(plan.deployment, requestId) < canary.weight ? canary : null;
  return {
    champion,
    canary: chosen,
    shadows: plan.entries.filter((entry) => entry.role === 'shadow' && usable(entry.version)),
  };
}
