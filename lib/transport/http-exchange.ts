import { HttpException, type ExecutionContext } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';

import type { EndCause } from '../errors.js';
import type { RequestOutcome } from '../options/context-options.js';

/** The members of a stream of HTTP/2 that this library uses. */
interface Http2Stream {
  /** Whether the stream ended before the response was, by a reset or with its connection. */
  readonly aborted: boolean;
  readonly destroyed: boolean;
  readonly writableFinished: boolean;
}

/** The members of Express' and Fastify's responses that this library uses. */
export interface HttpResponse {
  readonly statusCode?: number;
  /** Node's own response, which Fastify's reply wraps. */
  readonly raw?: HttpResponse;
  /** The stream of the response, which only a response of HTTP/2 has. */
  readonly stream?: Http2Stream;
  readonly headersSent?: boolean;
  readonly writableFinished?: boolean;
  readonly closed?: boolean;
  on?(event: 'close', listener: () => void): unknown;
  off?(event: 'close', listener: () => void): unknown;
  once?(event: 'close', listener: () => void): unknown;
  getHeader?(name: string): number | string | readonly string[] | undefined;
  getHeaderNames?(): readonly string[];
  getHeaders?(): object;
  /** Replaces a header of Express' or Node's response; Fastify's reply has `header()` instead. */
  setHeader?(name: string, value: string | readonly string[]): unknown;
  removeHeader?(name: string): unknown;
  /** Sets the status of Fastify's reply. */
  code?(status: number): unknown;
  /** Sets a header of Fastify's reply; cookies are added to those that are set already. */
  header?(name: string, value: string | readonly string[]): unknown;
}

/** The members of Express', Fastify's and Node's requests that this library uses. */
export interface HttpRequest {
  readonly method?: string;
  /** Only Express has it; a middleware under Fastify gets Node's own request, which has `url` alone. */
  readonly originalUrl?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Node's own request: whether the server has given its connection to another protocol. */
  readonly upgrade?: boolean;
}

/** Names a request that has found no route yet. The query is left out: it may hold secrets. */
export function nameOfRequest({ method, originalUrl, url }: HttpRequest): string {
  return `${method ?? 'a request'} ${(originalUrl ?? url ?? '').split('?')[0]}`;
}

// Nest's own metadata keys; `test/e2e/nest-surface.spec.ts` fails when an upgrade changes them.
export const REDIRECT_METADATA = '__redirect__';
export const SSE_METADATA = '__sse__';
export const RENDER_METADATA = '__renderTemplate__';
const ROUTE_ARGUMENTS_METADATA = '__routeArguments__';
const PASSTHROUGH_METADATA = '__responsePassthrough__';
/** The keys of the parameters `@Res()` and `@Next()` begin with these. */
const RESPONSE_PARAMETER = '1:';
const NEXT_PARAMETER = '2:';

// It is only asked which status an error gets. It has no state, so two applications can share it.
const nestDefaultFilter = new BaseExceptionFilter();

/** The response of an HTTP request, or `undefined` for other transports. */
export function httpResponseOf(executionContext: ExecutionContext): HttpResponse | undefined {
  return executionContext.getType() === 'http'
    ? executionContext.switchToHttp().getResponse<HttpResponse>()
    : undefined;
}

/** The HTTP request, or `undefined` for other transports. */
export function httpRequestOf(executionContext: ExecutionContext): HttpRequest | undefined {
  return executionContext.getType() === 'http'
    ? executionContext.switchToHttp().getRequest<HttpRequest>()
    : undefined;
}

/** Whether a route answers with server-sent events. */
export function isSse(executionContext: Pick<ExecutionContext, 'getHandler'>): boolean {
  return Reflect.getMetadata(SSE_METADATA, executionContext.getHandler()) === true;
}

/** Whether what a route returns goes to a template rather than into the response. */
export function isRendered(executionContext: Pick<ExecutionContext, 'getHandler'>): boolean {
  return Reflect.hasMetadata(RENDER_METADATA, executionContext.getHandler());
}

/**
 * The name of the method that a handler is, by which Nest keeps the decorators of its parameters. The function may have
 * another one: that of a decorator which has wrapped it.
 */
export function methodNameOf(
  executionContext: Pick<ExecutionContext, 'getClass' | 'getHandler'>,
): string {
  const handler = executionContext.getHandler();
  let prototype: unknown = executionContext.getClass().prototype;
  while (typeof prototype === 'object' && prototype !== null) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (value === handler) {
        return name;
      }
    }
    prototype = Object.getPrototypeOf(prototype);
  }
  return handler.name;
}

/** Whether a handler answers by itself: it takes `@Res()` or `@Next()`, without `passthrough`. */
export function answersByItself(
  executionContext: Pick<ExecutionContext, 'getClass' | 'getHandler'>,
): boolean {
  const owner = executionContext.getClass();
  const name = methodNameOf(executionContext);
  const parameters = Object.keys(
    (Reflect.getMetadata(ROUTE_ARGUMENTS_METADATA, owner, name) as object | undefined) ?? {},
  );
  return (
    parameters.some(
      (key) => key.startsWith(RESPONSE_PARAMETER) || key.startsWith(NEXT_PARAMETER),
    ) && Reflect.getMetadata(PASSTHROUGH_METADATA, owner, name) !== true
  );
}

/** The arguments of `@Redirect()` that matter here. */
export interface Redirect {
  readonly statusCode?: number;
}

/** Where a route redirects to, if it does. */
export function redirectOf(
  executionContext: Pick<ExecutionContext, 'getHandler'>,
): Redirect | undefined {
  return Reflect.getMetadata(REDIRECT_METADATA, executionContext.getHandler()) as
    | Redirect
    | undefined;
}

/** Whether the headers of the response have been sent. */
export function headersWereSent(response: HttpResponse | undefined): boolean {
  return (response?.raw ?? response)?.headersSent === true;
}

/**
 * Whether the exchange is over, with or without a complete response. The event `close` does not come any
 * more then.
 */
export function isOver(response: HttpResponse): boolean {
  const raw = response.raw ?? response;
  const stream = http2StreamOf(raw);
  return stream === undefined ? raw.closed === true : stream.destroyed;
}

/** Whether the client went away before the response was complete. */
export function clientHasLeft(response: HttpResponse): boolean {
  const raw = response.raw ?? response;
  const stream = http2StreamOf(raw);
  if (stream === undefined) {
    return raw.closed === true && raw.writableFinished !== true;
  }
  // A stream that is reset is ended as well, so that it looks finished; that it was aborted, it remembers.
  return stream.destroyed && (stream.aborted || !stream.writableFinished);
}

/** What ends the context of a client that has left, with `onDisconnect: 'rollback'`. */
export const CLIENT_LEFT: EndCause = {
  code: 'CLIENT_GONE',
  what: "the client went away (onDisconnect: 'rollback')",
};

/** What ends the context of a client that has left, where what sends it the answer stops for that. */
export const CLIENT_GONE: EndCause = { code: 'CLIENT_GONE', what: 'the client went away' };

/**
 * Calls `listener` when the client disconnects before the response is complete, or at once when it has
 * disconnected already.
 *
 * @returns a function that stops listening
 */
export function onDisconnect(response: HttpResponse, listener: () => void): () => void {
  const raw = response.raw ?? response;
  const onClose = (): void => {
    // That it is closed, some responses say only later.
    if (http2StreamOf(raw) === undefined ? raw.writableFinished !== true : clientHasLeft(raw)) {
      listener();
    }
  };
  if (clientHasLeft(raw)) {
    listener();
  }
  raw.on?.('close', onClose);
  return () => raw.off?.('close', onClose);
}

// Node's response of HTTP/2 has no `closed`, and of a stream that was reset it says `writableFinished`.
function http2StreamOf(raw: HttpResponse): Http2Stream | undefined {
  const { stream } = raw;
  return typeof stream?.aborted === 'boolean' ? stream : undefined;
}

/** What a handler's success says about the response to come. */
export function outcomeOfSuccess(
  redirect: Redirect | undefined,
  response: HttpResponse | undefined,
  value: unknown,
): RequestOutcome {
  if (response === undefined) {
    return { failed: false, status: undefined };
  }
  return { failed: false, status: statusOfSuccess(redirect, response, value) };
}

/** The lowest status that tells a client of a failure. */
const LOWEST_FAILURE = 400;

/** What the status of an answer says that no handler has given. */
export function outcomeOfAnswer(status: number): RequestOutcome {
  return { failed: status >= LOWEST_FAILURE, status };
}

/** What a handler's failure says about the response to come. */
export function outcomeOfFailure(
  response: HttpResponse | undefined,
  error: unknown,
): RequestOutcome {
  return {
    failed: true,
    error,
    status: response === undefined ? undefined : statusOfFailure(error),
  };
}

// Where Nest sets the status while it sends the response, the response object does not have it yet.
function statusOfSuccess(
  redirect: Redirect | undefined,
  response: HttpResponse,
  value: unknown,
): number | undefined {
  if (isWebResponse(value)) {
    return value.status;
  }
  // Fastify answers with an error that is returned as with one that is thrown; Express makes JSON of it.
  if (value instanceof Error && response.raw !== undefined) {
    const { statusCode } = value as { readonly statusCode?: unknown };
    return typeof statusCode === 'number' && statusCode >= 400 ? statusCode : 500;
  }
  if (redirect !== undefined) {
    const returned = (value as { readonly statusCode?: unknown } | null | undefined)?.statusCode;
    return typeof returned === 'number' ? returned : (redirect.statusCode ?? 302);
  }
  return response.statusCode;
}

function statusOfFailure(error: unknown): number {
  try {
    if (error instanceof HttpException) {
      return error.getStatus();
    }
    // Nest keeps the status of errors of `http-errors` and the like; any other `statusCode` becomes a 500.
    return nestDefaultFilter.isHttpError(error) ? error.statusCode : 500;
  } catch {
    // A thrown object may have getters that throw. Nest answers 500 then, and the context is to be ended.
    return 500;
  }
}

// By its tag, as Nest does it: a response of another realm or of a polyfill is no instance of our class.
function isWebResponse(value: unknown): value is Response {
  return Object.prototype.toString.call(value) === '[object Response]';
}
