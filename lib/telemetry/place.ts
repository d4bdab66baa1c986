import { fileURLToPath } from 'node:url';

/** A place in the code; its text is only made when it is asked for, and is empty where none can be made. */
export interface Place {
  readonly stack: string;
}

/** A place that shows nothing. */
export const NO_PLACE: Place = { stack: '' };

/** Deeper than usual: between the application and here are MikroORM and Kysely. */
const STACK_DEPTH = 60;

/** The place that is running now. */
export function placeHere(): Place {
  const { stackTraceLimit } = Error;
  // Where the intrinsics of the language are frozen, it stays as it is.
  Reflect.set(Error, 'stackTraceLimit', STACK_DEPTH);
  const error = new Error('here');
  Reflect.set(Error, 'stackTraceLimit', stackTraceLimit);
  return {
    get stack() {
      return textOf(error);
    },
  };
}

/** The place that publishes an event; called by a listener of it, whose own frames are left out. */
export function placeOfPublisher(): Place {
  const here = placeHere();
  return {
    get stack() {
      const [head = '', ...frames] = here.stack.split('\n');
      const publish = frames.findIndex((frame) => frame.includes('(node:diagnostics_channel:'));
      return [head, ...frames.slice(publish + 1)].join('\n');
    },
  };
}

/** `Error.prepareStackTrace` of the application makes the stack: it may make no text of it, or throw. */
function textOf(error: Error): string {
  try {
    const stack: unknown = error.stack;
    return typeof stack === 'string' ? stack : '';
  } catch {
    return '';
  }
}

const LIBRARY = fileURLToPath(new URL('..', import.meta.url));

/** The stack without its head, and without what is not the application's. */
export function callers(place: Place): string {
  const frames = framesOf(place);
  const own = frames.filter(isOfApplication);
  return (own.length > 0 ? own : frames).join('\n');
}

/** Whether a place shows code of the application: MikroORM breaks the trace of some of its calls. */
export function showsApplication(place: Place): boolean {
  return framesOf(place).some(isOfApplication);
}

function framesOf({ stack }: Place): readonly string[] {
  return stack.split('\n').slice(1);
}

/** Built-in functions have no file: `at Set.forEach (<anonymous>)`. */
function isOfApplication(frame: string): boolean {
  return !/[( ]node:|[/\\]node_modules[/\\]|<anonymous>/.test(frame) && !frame.includes(LIBRARY);
}
