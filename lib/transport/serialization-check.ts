import { StreamableFile } from '@nestjs/common';

import type { HttpResponse } from './http-exchange.js';

/** The members of Express' and Fastify's responses by which they make the text of a body. */
interface Serializing {
  /** Of Fastify: with the schema and the serializer of the route. */
  serialize?(value: unknown): unknown;
  /** Of Express: its application, whose settings `res.json()` heeds. */
  readonly app?: { get(setting: 'json replacer'): never };
}

/**
 * Makes the text of a response for trial, so that one that cannot be made (a BigInt, a cycle) is a failure
 * of the handler, rather than of the response after the commit. Streams and binary bodies are not read.
 *
 * @throws what the serialization of the response will throw
 */
export function trySerialization(response: HttpResponse, value: unknown): void {
  if (typeof value !== 'object' || value === null || isOfBytes(value)) {
    return;
  }
  const serializing = response as Serializing;
  if (serializing.serialize === undefined) {
    JSON.stringify(value, serializing.app?.get('json replacer'));
  } else {
    serializing.serialize(value);
  }
}

function isOfBytes(value: object): boolean {
  return (
    value instanceof StreamableFile ||
    value instanceof Uint8Array ||
    Symbol.asyncIterator in value ||
    'getReader' in value ||
    'pipe' in value ||
    // As Nest does it: a response of another realm is no instance of our class.
    Object.prototype.toString.call(value) === '[object Response]'
  );
}
