import type { HttpResponse } from './http-exchange.js';

/** The methods of Node's response by which an answer begins or goes on. */
export interface SendingMethods {
  writeHead: (...parameters: readonly unknown[]) => unknown;
  flushHeaders: () => void;
  write: (...parameters: readonly unknown[]) => boolean;
  end: (...parameters: readonly unknown[]) => unknown;
}

/** The methods that wait with the rest, once an answer is held back; those of trailers not everywhere. */
export const ENDING_METHODS = ['addTrailers', 'setTrailer', 'destroy'] as const;

/** A method whose calls are held back. */
export type HeldMethod = keyof SendingMethods | (typeof ENDING_METHODS)[number];

/** The members of Node's response, of HTTP/1 and of HTTP/2, that a `ResponseHold` needs. */
export interface NodeResponse extends SendingMethods, HttpResponse {
  statusCode: number;
  statusMessage?: string | undefined;
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  removeHeader(name: string): unknown;
  addTrailers?(trailers: object): unknown;
  setTrailer?(name: string, value: unknown): unknown;
  destroy(error?: Error): unknown;
  emit(event: 'drain'): boolean;
  listenerCount(event: string): number;
  addListener(event: 'newListener', listener: (event: string | symbol) => void): unknown;
  removeListener(event: 'newListener', listener: (event: string | symbol) => void): unknown;
}

/** Node's own response, if an answer can be held back in it. */
export function nodeResponseOf(response: HttpResponse): NodeResponse | undefined {
  const raw = (response.raw ?? response) as Partial<NodeResponse>;
  const isWhole =
    typeof raw.writeHead === 'function' &&
    typeof raw.flushHeaders === 'function' &&
    typeof raw.write === 'function' &&
    typeof raw.end === 'function';
  return isWhole ? (raw as NodeResponse) : undefined;
}
