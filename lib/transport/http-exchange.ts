import { HttpException, type ExecutionContext } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';

import type { RequestOutcome } from '../options/context-options.js';

/** What Express' and Fastify's responses have in common, as far as it is needed here. */
export interface HttpResponse {
  readonly statusCode?: number;
  /** Node's own response, under Fastify's reply. */
  readonly raw?: HttpResponse;
  readonly headersSent?: boolean;
  readonly writableFinished?: boolean;
  readonly closed?: boolean;
  on?(event: 'close', listener: () => void): unknown;
  off?(event: 'close', listener: () => void): unknown;
  once?(event: 'close', listener: () => void): unknown;
  getHeader?(name: string): number | string | readonly string[] | undefined;
  /** Not Fastify's reply, which has `header()`. */
  setHeader?(name: string, value: string | readonly string[]): unknown;
  removeHeader?(name: string): unknown;
  /** Fastify's, which adds to the cookies that there are. */
  header?(name: string, value: string | readonly string[]): unknown;
}

/** What is needed of a request. */
export interface HttpRequest {
  readonly method?: string;
  /** Under Express; Fastify's middleware gets Node's own request, with `url` alone. */
  readonly originalUrl?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** Names a request that has found no route yet. The query is left out: it may hold secrets. */
export function nameOfRequest({ method, originalUrl, url }: HttpRequest): string {
  return `${method ?? 'a request'} ${(originalUrl ?? url ?? '').split('?')[0]}`;
}

// Nest's own metadata keys; `test/e2e/nest-surface.spec.ts` fails when an upgrade changes them.
export const REDIRECT_METADATA = '__redirect__';
export const SSE_METADATA = '__sse__';

// Asked what status an error gets, and nothing else; it has no state.
const nestDefaultFilter = new BaseExceptionFilter();

/** The response of an HTTP request, or `undefined` for other transports. */
export function httpResponseOf(context: ExecutionContext): HttpResponse | undefined {
  return context.getType() === 'http'
    ? context.switchToHttp().getResponse<HttpResponse>()
    : undefined;
}

/** The HTTP request, or `undefined` for other transports. */
export function httpRequestOf(context: ExecutionContext): HttpRequest | undefined {
  return context.getType() === 'http'
    ? context.switchToHttp().getRequest<HttpRequest>()
    : undefined;
}

/** Whether a route answers with server-sent events. */
export function isSse(context: ExecutionContext): boolean {
  return Reflect.getMetadata(SSE_METADATA, context.getHandler()) === true;
}

/** What `@Redirect()` says. */
export interface Redirect {
  readonly statusCode?: number;
}

/** Where a route redirects to, if it does. */
export function redirectOf(context: ExecutionContext): Redirect | undefined {
  return Reflect.getMetadata(REDIRECT_METADATA, context.getHandler()) as Redirect | undefined;
}

/** Whether the head of the response has left. */
export function headersWereSent(response: HttpResponse | undefined): boolean {
  return (response?.raw ?? response)?.headersSent === true;
}

/** Whether the client went away before the response was complete. */
export function clientHasLeft(response: HttpResponse): boolean {
  const raw = response.raw ?? response;
  return raw.closed === true && raw.writableFinished !== true;
}

/**
 * Calls `listener` when the client goes away before the response is complete; at once when it has
 * gone already.
 *
 * @returns stops listening
 */
export function onDisconnect(response: HttpResponse, listener: () => void): () => void {
  const raw = response.raw ?? response;
  const onClose = (): void => {
    if (raw.writableFinished !== true) {
      listener();
    }
  };
  if (clientHasLeft(response)) {
    listener();
  }
  raw.on?.('close', onClose);
  return () => raw.off?.('close', onClose);
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

// The response object does not know the status yet where Nest sets it while sending.
function statusOfSuccess(
  redirect: Redirect | undefined,
  response: HttpResponse,
  value: unknown,
): number | undefined {
  if (isWebResponse(value)) {
    return value.status;
  }
  if (redirect !== undefined) {
    const returned = (value as { readonly statusCode?: unknown } | null | undefined)?.statusCode;
    return typeof returned === 'number' ? returned : (redirect.statusCode ?? 302);
  }
  return response.statusCode;
}

function statusOfFailure(error: unknown): number {
  if (error instanceof HttpException) {
    return error.getStatus();
  }
  // As Nest does it: `http-errors` and the like keep their status, any other `statusCode` is a 500.
  return nestDefaultFilter.isHttpError(error) ? error.statusCode : 500;
}

// By its tag, as Nest does it: the class of another realm or of a polyfill is not ours.
function isWebResponse(value: unknown): value is Response {
  return Object.prototype.toString.call(value) === '[object Response]';
}
