import { AsyncResource } from 'node:async_hooks';

import type { HttpServer } from '@nestjs/common';

import type { DbContextMiddleware } from './db-context.middleware.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';

/** Fastify, as far as this library uses it. */
interface Fastify {
  readonly errorHandler?: (error: unknown, request: HttpRequest, response: HttpResponse) => unknown;
}

type Next = (error?: unknown) => void;

/** Hands an error to the exception filters of the application, for a response that has not begun. */
type AnswerError = (
  error: unknown,
  exchange: { readonly request: HttpRequest; readonly response: HttpResponse; readonly next: Next },
) => void;

/**
 * Mounts the middleware on Express or Fastify itself, at the place where Nest is about to mount those of
 * modules. Nest matches the path of each request against that of each of its middlewares, and wraps it in an
 * async function; ours is for all paths, and hands its errors to the exception filters itself.
 *
 * @returns whether it did; another platform gets a middleware of Nest
 */
export function enterFromPlatform(adapter: HttpServer, middleware: DbContextMiddleware): boolean {
  const answerError = errorsOf(adapter);
  if (answerError === undefined) {
    return false;
  }
  adapter.use((request: HttpRequest, response: HttpResponse, next: Next) => {
    // An answer fails in the context whose end it is; the filters run outside of it.
    const outside = new AsyncResource('DbContextMiddleware');
    const answer = (error: unknown): void =>
      outside.runInAsyncScope(answerError, undefined, error, { request, response, next });
    middleware.enter({ request, response, next, answer });
  });
  return true;
}

function errorsOf(adapter: HttpServer): AnswerError | undefined {
  switch (adapter.getType()) {
    case 'express':
      // Express goes on from here to the next handler of errors, which is Nest's, also a second time.
      return (error, { next }) => next(error);
    case 'fastify': {
      const fastify: Fastify = adapter.getInstance();
      // Fastify lets a hook go on only once; Nest's handler of its errors takes Node's own response, too.
      return (error, { request, response }) =>
        void fastify.errorHandler?.(error, request, response);
    }
    default:
      return undefined;
  }
}
