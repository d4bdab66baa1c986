import { fileURLToPath } from 'node:url';

/** A place in the code; its text is only made when it is asked for. */
export type Place = Pick<Error, 'stack'>;

/** Deeper than usual: between the application and here are MikroORM and Kysely. */
const STACK_DEPTH = 60;

/** The place that is running now. */
export function placeHere(): Place {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = STACK_DEPTH;
  const place = new Error('here');
  Error.stackTraceLimit = stackTraceLimit;
  return place;
}

/** The stack without its head, and without what is not the application's. */
export function callers({ stack = '' }: Place): string {
  const frames = stack.split('\n').slice(1);
  const own = frames.filter((frame) => !/node:internal|[/\\]node_modules[/\\]/.test(frame));
  return (own.length > 0 ? own : frames).join('\n');
}

const LIBRARY = fileURLToPath(new URL('..', import.meta.url));

/** Whether a place shows code of the application: MikroORM breaks the trace of some of its calls. */
export function showsApplication({ stack = '' }: Place): boolean {
  const frames = stack.split('\n').slice(1);
  return frames.some(
    (frame) =>
      !/node:internal|[/\\]node_modules[/\\]|<anonymous>/.test(frame) && !frame.includes(LIBRARY),
  );
}
