import type {
  ContextTimeoutError,
  EndCause,
  EndCode,
  ShuttingDownError,
  StreamTimeoutError,
} from '../errors.js';

/** The errors that say what has cut a unit of work off. */
export type CutOffError = ContextTimeoutError | ShuttingDownError | StreamTimeoutError;

const WHAT = {
  CONTEXT_TIMEOUT: 'it was open for longer than contextTimeoutMs',
  SHUTTING_DOWN: 'the application shuts down',
  STREAM_TIMEOUT: 'it was open for longer than its timeoutMs',
} as const satisfies Partial<Record<EndCode, string>>;

/** What has ended a unit of work of which `error` says why it was cut off. */
export function endCauseOf(error: CutOffError): EndCause {
  const code = error.code as keyof typeof WHAT;
  return { code, what: WHAT[code], error };
}
