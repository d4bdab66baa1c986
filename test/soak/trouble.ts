import { setTimeout as sleep } from 'node:timers/promises';

import type { Random } from './random.js';
import type { SoakApp } from './soak-app.js';
import type { SoakConnection } from './soak-connection.js';

/** What happens to a connection, with how often. */
const TROUBLES = {
  'kill one backend': 20,
  'kill all backends': 3,
  'cut all links': 5,
  'cut a COMMIT': 10,
  'lose the answer to COMMIT': 10,
  'cut a BEGIN': 8,
  'cut a ROLLBACK': 5,
  'half-open link': 6,
  freeze: 4,
  'refuse connections': 4,
};
type Trouble = keyof typeof TROUBLES;

/** Injects faults into the connections of one application until it is stopped, and then restores everything. */
export class TroubleMaker {
  readonly counts: Partial<Record<Trouble, number>> = {};
  readonly #app: SoakApp;
  readonly #random: Random;

  constructor(app: SoakApp, random: Random) {
    this.#app = app;
    this.#random = random;
  }

  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      // A pace, not a synchronisation.
      await sleep(this.#random.between(50, 500));
      const trouble = this.#random.pick(TROUBLES);
      const name = this.#random.pick({ default: 4, audit: 1 });
      this.counts[trouble] = (this.counts[trouble] ?? 0) + 1;
      await this.#make(
        trouble,
        this.#app.connections.find((each) => each.name === name)!,
      );
    }
    for (const { proxy } of this.#app.connections) {
      proxy.disarm();
      proxy.heal();
    }
  }

  async #make(trouble: Trouble, { proxy, kill }: SoakConnection): Promise<void> {
    switch (trouble) {
      case 'kill one backend':
        return kill(1);
      case 'kill all backends':
        return kill(100);
      case 'cut all links':
        return proxy.cut();
      case 'cut a COMMIT':
        return proxy.arm('cut', /^commit/);
      case 'lose the answer to COMMIT':
        return proxy.arm('drop-answer', /^commit/);
      case 'cut a BEGIN':
        return proxy.arm('cut', /^begin/);
      case 'cut a ROLLBACK':
        return proxy.arm('cut', /^rollback$/);
      case 'half-open link':
        return proxy.arm(this.#random.next() < 0.5 ? 'lose-request' : 'lose-answer', /^insert/);
      case 'freeze':
        proxy.freeze();
        await sleep(this.#random.between(100, 1_500));
        return proxy.thaw();
      case 'refuse connections':
        proxy.refuse = true;
        await sleep(this.#random.between(50, 500));
        proxy.refuse = false;
    }
  }
}
