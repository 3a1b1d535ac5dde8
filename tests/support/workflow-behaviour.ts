/** What the data, the trainer and the servers of a test do, by model: the only parts of the loop that are not the real ones. */

export interface Behaviour {
  /** What the checks of the snapshot say. `changes`: they are content, but later the data no longer fits. */
  readonly data: 'fine' | 'one class' | 'changes';
  /** `waits`: until `release`, or until it is told to stop. */
  readonly training: 'done' | 'fails' | 'waits';
  /** The rmse on held-out rows; the definition allows 2. undefined: it could not be measured. */
  readonly rmse: number | undefined;
  /** What the inference servers count of a challenger. `absent`: no server runs. `dropped`: of the first plan a row missed the log, of later ones none. */
  readonly challenger: 'healthy' | 'failing' | 'silent' | 'absent' | 'dropped';
}

const USUAL: Behaviour = { data: 'fine', training: 'done', rmse: 1, challenger: 'healthy' };

export interface Notification {
  readonly model: string;
  readonly event: string;
  readonly text: string;
}

export class Behaviours {
  readonly notifications: Notification[] = [];
  /** Models whose training was told to stop. */
  readonly stopped: string[] = [];
  readonly #byModel = new Map<string, Behaviour>();
  readonly #waiting = new Map<string, () => void>();

  of(model: string): Behaviour {
    return this.#byModel.get(model) ?? USUAL;
  }

  set(model: string, change: Partial<Behaviour>): void {
    this.#byModel.set(model, { ...this.of(model), ...change });
  }

  isTraining(model: string): boolean {
    return this.#waiting.has(model);
  }

  /** Lets a training that waits end well, and those after it. */
  release(model: string): void {
    this.set(model, { training: 'done' });
    this.#waiting.get(model)?.();
  }

  releaseAll(): void {
    for (const model of [...this.#waiting.keys()]) this.release(model);
  }

  async untilReleased(model: string, signal: AbortSignal): Promise<'released' | 'stopped'> {
    try {
      return await new Promise((resolve) => {
        this.#waiting.set(model, () => resolve('released'));
        signal.addEventListener('abort', () => {
          this.stopped.push(model);
          resolve('stopped');
        });
      });
    } finally {
      this.#waiting.delete(model);
    }
  }

  told(model: string, event: string): readonly string[] {
    return this.notifications.filter((one) => one.model === model && one.event === event).map((one) => one.text);
  }
}
