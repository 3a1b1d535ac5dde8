/** The traces of events: what their envelopes carry, and which event is behind a run or a deployment. */
import type { Registry } from '../ports/registry.ts';

/** Traceparents that are remembered. */
const REMEMBERED = 2_000;

/** From the body of an event as the registry keeps it. */
export function traceparentIn(body: string): string | undefined {
  // Cheaper than parsing a body of many kilobytes for something that is mostly absent.
  if (!body.includes('"traceparent"')) return undefined;
  const { traceparent } = JSON.parse(body) as { readonly traceparent?: unknown };
  return typeof traceparent === 'string' ? traceparent : undefined;
}

export class EventTraces {
  readonly #known = new Map<string, string | undefined>();

  constructor(readonly registry: Pick<Registry, 'event' | 'run' | 'deployment'>) {}

  remember(name: string, traceparent: string | undefined): void {
    this.#known.set(name, traceparent);
    const [oldest] = this.#known.keys();
    if (this.#known.size > REMEMBERED && oldest !== undefined) this.#known.delete(oldest);
  }

  async #lookup(name: string, find: () => Promise<string | undefined>): Promise<string | undefined> {
    if (this.#known.has(name)) return this.#known.get(name);
    const found = await find();
    this.remember(name, found);
    return found;
  }

  ofEvent(key: string): Promise<string | undefined> {
    return this.#lookup(`event ${key}`, async () => {
      const event = await this.registry.event(key);
      return event && traceparentIn(event.body);
    });
  }
  async ofEvents(keys: readonly string[]): Promise<readonly string[]> {
    const found = await Promise.all(keys.map((key) => this.ofEvent(key)));
    return found.filter((one) => one !== undefined);
  }
  /** That of the event that opened it. */
  ofRun(run: string): Promise<string | undefined> {
    return this.#lookup(`run ${run}`, async () => {
      const [opener] = (await this.registry.run(run))?.eventKeys ?? [];
      return opener === undefined ? undefined : this.ofEvent(opener);
    });
  }
  ofDeployment(model: string, deployment: number): Promise<string | undefined> {
    return this.#lookup(`deployment ${model} ${deployment}`, async () => {
      const run = (await this.registry.deployment(model, deployment))?.run;
      return run == null ? undefined : this.ofRun(run);
    });
  }
}
