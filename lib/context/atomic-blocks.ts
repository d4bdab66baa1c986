import { AsyncScope } from '../transaction/async-scope.js';
import { SerialQueue } from '../transaction/serial-queue.js';

/** Code of a block; blocks that begin inside of it take turns with one another. */
class BlockScope extends AsyncScope {
  readonly blocks: AtomicBlocks;
  readonly connectionName: string;
  readonly queue = new SerialQueue();

  constructor(blocks: AtomicBlocks, connectionName: string) {
    super();
    this.blocks = blocks;
    this.connectionName = connectionName;
  }
}

/** The atomic blocks of one context. */
export class AtomicBlocks {
  /** The turns of those that lie in no other. */
  readonly #queue = new SerialQueue();
  #running: readonly BlockScope[] = [];

  /** Whether none runs or waits for its turn. */
  get isEmpty(): boolean {
    return this.#queue.unfinished === 0;
  }

  /**
   * Runs a block in its turn. Blocks take turns with those that began in the same block, or in none, also
   * with those of other connections: otherwise two of them could wait for each other for ever.
   */
  run<T>(connectionName: string, block: () => Promise<T>): Promise<T> {
    const around = AsyncScope.innermost(
      BlockScope,
      (scope) => scope.blocks === this && !scope.isOver,
    );
    return (around?.queue ?? this.#queue).run(async () => {
      const scope = new BlockScope(this, connectionName);
      this.#running = [...this.#running, scope];
      try {
        return await scope.during(block);
      } finally {
        this.#running = this.#running.filter((each) => each !== scope);
      }
    });
  }

  /** Whether a block works on a connection that the calling code is no part of. */
  isElsewhere(connectionName: string): boolean {
    return this.#running.some(
      (block) =>
        block.connectionName === connectionName &&
        AsyncScope.innermost(BlockScope, (scope) => scope === block) === undefined,
    );
  }
}
