import type { Measurement } from '../report/measurement.js';
import { TABLES } from './tables.js';

/**
 * The table of a block, and under it when, on what and by which script it was measured.
 *
 * @param name of the block: a file of docs/figures without its suffix, a slash, and the table, as in
 *   `counts/round-trips`
 * @param figuresIn what such a file holds, as a script with `--json` writes it
 */
export function figuresOf(name: string, figuresIn: (file: string) => Measurement): string {
  const [file = '', part = ''] = name.split('/');
  const table = TABLES[part];
  if (table === undefined) {
    throw new Error(
      `figures:${name}: there is no table "${part}", but ${Object.keys(TABLES).join(', ')}`,
    );
  }
  const figures = figuresIn(file);
  const text = table.textOf(figures);
  if (text.split('\n').length < 3) {
    throw new Error(`figures:${name}: docs/figures/${file}.json has nothing of it`);
  }
  const { file: path, command } = table.script;
  const options = [figures.asked, `--json docs/figures/${file}.json`].filter((each) => each !== '');
  return (
    `${text}\n\nMeasured on ${placeOf(figures)} by [${path}](../${path}): ` +
    `\`${command} -- ${options.join(' ')}\``
  );
}

/** The day, the versions and the machine. */
function placeOf(figures: Measurement): string {
  const { startedAt, node, cpuModel, cpus, loadAverage, versions = {} } = figures;
  const software = Object.entries({ Node: node.replace(/^v/, ''), ...versions });
  return (
    `${startedAt.slice(0, 10)} with ${software.map((each) => each.join(' ')).join(', ')} ` +
    `on ${cpus} cores (${cpuModel}, load before ${loadAverage[0]!.toFixed(2)})`
  );
}
