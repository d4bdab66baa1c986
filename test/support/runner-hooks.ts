type Callback = () => unknown;
type Kind = 'beforeAll' | 'afterAll' | 'beforeEach' | 'afterEach';

/** The hooks of a test runner, which a spec calls itself, in whatever order it is about. */
export class RunnerHooks {
  readonly #callbacks: Record<Kind, Callback[]> = {
    beforeAll: [],
    afterAll: [],
    beforeEach: [],
    afterEach: [],
  };

  /** To be handed to `useTestTransaction()`. */
  get options(): Record<Kind, (callback: Callback) => void> {
    const adds = (kind: Kind) => (callback: Callback) => {
      this.#callbacks[kind].push(callback);
    };
    return {
      beforeAll: adds('beforeAll'),
      afterAll: adds('afterAll'),
      beforeEach: adds('beforeEach'),
      afterEach: adds('afterEach'),
    };
  }

  /** Runs all hooks of a kind, also where one of them fails, as runners do. */
  async run(kind: Kind): Promise<void> {
    const errors: unknown[] = [];
    for (const callback of this.#callbacks[kind]) {
      try {
        await callback();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) {
      throw errors[0];
    }
  }

  /** Runs one test between its hooks, as runners do. */
  async runTest(body: () => unknown): Promise<void> {
    await this.run('beforeEach');
    try {
      await body();
    } finally {
      await this.run('afterEach');
    }
  }
}
