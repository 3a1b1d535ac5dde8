/**
 * A value that must never be printed. It masks itself in strings, JSON and the inspector, so that a secret cannot slip
 * into a log by way of an object that holds it; only `reveal()` gives it away, which is easy to search for.
 */
import { inspect } from 'node:util';

const MASK = '[secret]';

export class Secret {
  readonly #value: string;
  readonly #shown: string;

  /** `shown` stands for it wherever it is printed: an address without its password. */
  constructor(value: string, shown = MASK) {
    this.#value = value;
    this.#shown = shown;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return this.#shown;
  }

  toJSON(): string {
    return this.#shown;
  }

  [inspect.custom](): string {
    return this.#shown;
  }
}
