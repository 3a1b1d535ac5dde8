/**
 * A value that must never be printed. It masks itself in strings, JSON and the inspector, so that a secret cannot slip
 * into a log by way of an object that holds it; only `reveal()` gives it away, which is easy to search for.
 */
import { inspect } from 'node:util';

const MASK = '[secret]';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}
