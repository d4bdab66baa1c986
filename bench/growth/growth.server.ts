/**
 * One side at one curve, as a process with `--expose-gc`: `growth.server.js <side> <curve> <url>`; without a
 * URL it works on canned answers. It sends a message when it is ready; then it answers each
 * {@link Measurement} with its figures.
 */
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
const count = curve === 'connections' ? MOST_DATABASES : 1;
const databases = databaseOptions(clientUrl === undefined ? CANNED_DATABASE : { clientUrl }, count);
const stand = await (side === 'library' ? openLibrary : openHandWritten)(databases);
const work = WORKS[curve]!(stand);
const recorder = new Recorder();

process.on('message', (message: Measurement) => void answer(message));
// This process ends with its parent, and its connections end with it.
process.on('disconnect', () => void stand.close().finally(() => process.exit(0)));
process.send!({ ready: true });

async function answer({ points, units, isRecorded }: Measurement): Promise<void> {
  if (isRecorded) {
    await recorder.start();
  }
  const figures = await work(points, units);
  const measured: Measured = isRecorded ? { figures, profile: await recorder.stop() } : { figures };
  process.send!(measured);
}
