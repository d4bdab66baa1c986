import { play } from './play/play.js';
import { summaryText } from './play/report.js';

console.log('Starting a primary, a synchronous standby and the application ...');
// Ctrl-C needs no care: the servers end when the pipe to this process breaks.
const summary = await play(
  { clients: 8, beforeMs: 3_000, withoutPrimaryMs: 2_000, afterMs: 3_000, lineMs: 500 },
  (line) => console.log(line),
);
console.log(summaryText(summary));
const isProved = summary.missing === 0 && Number.isFinite(summary.promotionToSuccessMs);
process.exitCode = isProved ? 0 : 1;
