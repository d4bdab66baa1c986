/**
 * One side at one curve, as a process with `--expose-gc`: `growth.server.js <side> <curve> <url>`; without a
 * URL it works on canned answers. It sends a message when it is ready; then it answers each
 * {@link Measurement} with its figures.
 */
import { createHook } from 'node:async_hooks';

import { Recorder } from '../app/recorder.js';
import { CANNED_DATABASE } from '../machinery/canned-socket.js';
import type { Side } from './curve.js';
import type { Measurement, Measured } from './run/measurement.js';
import { openHandWritten } from './work/hand-written.stand.js';
import { openLibrary } from './work/library.stand.js';
import { databaseOptions } from './work/stand-options.js';
import { WORKS } from './work/works.js';

/** As many databases as the curve `connections` has at its end. */
const MOST_DATABASES = 5;

const [side, curve, clientUrl] = process.argv.slice(2) as [Side, string, string | undefined];
const databaseCount = curve === 'connections' ? MOST_DATABASES : 1;
const databases = databaseOptions(
  clientUrl === undefined ? CANNED_DATABASE : { clientUrl },
  databaseCount,
);
const stand = await (side === 'library' ? openLibrary : openHandWritten)(databases);
const work = WORKS[curve]!(stand);
const recorder = new Recorder();

process.on('message', (message: Measurement) => void answer(message));
// This process ends with its parent, and its connections end with it.
process.on('disconnect', () => void stand.close().finally(() => process.exit(0)));
process.send!({ ready: true });

async function answer({ points, units, also }: Measurement): Promise<void> {
  process.send!(await measure(points, units, also));
}

async function measure(
  points: readonly number[],
  units: number,
  also: Measurement['also'],
): Promise<Measured> {
  switch (also) {
    case undefined:
      return { figures: await work(points, units) };
    case 'profile': {
      await recorder.start();
      return { figures: await work(points, units), profile: await recorder.stop() };
    }
    case 'promises': {
      let promises = 0;
      const counting = createHook({
        init: (_, type) => {
          promises += type === 'PROMISE' ? 1 : 0;
        },
      });
      counting.enable();
      const figures = await work(points, units);
      counting.disable();
      return { figures, promises: promises / units };
    }
  }
}
