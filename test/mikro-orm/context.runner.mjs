/** Vitest's runner, with the body of each test in a context; its hooks run outside of any. */
import { TestRunner } from 'vitest';

export default class ContextRunner extends TestRunner {
  async runTask(test) {
    const body = TestRunner.getTestFn(test);
    const run = globalThis[Symbol.for('nestjs-db-context:mikro-orm-tests')];
    await (run === undefined ? body() : run(test.name, body));
  }
}
