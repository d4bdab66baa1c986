import type { Answer } from './answer.js';
import { shownPayloads } from './shown-payloads.js';

/** What Apollo Server answers to a request with: one answer, or a first payload and those that come after it. */
export type ApolloBody =
  | { readonly kind: 'single'; readonly singleResult: Answer }
  | {
      readonly kind: 'incremental';
      readonly initialResult: Answer;
      readonly subsequentResults: AsyncIterable<unknown>;
    };

/**
 * The body as its client may read it.
 *
 * @param showFirst what becomes of the answer, or of its first payload
 */
export function shownBody(body: ApolloBody, showFirst: (answer: Answer) => Answer): ApolloBody {
  return body.kind === 'single'
    ? { ...body, singleResult: showFirst(body.singleResult) }
    : {
        ...body,
        initialResult: showFirst(body.initialResult),
        subsequentResults: shownPayloads(body.subsequentResults),
      };
}

/** The answer, or the first payload of it. */
export function firstOf(body: ApolloBody): Answer {
  return body.kind === 'single' ? body.singleResult : body.initialResult;
}

/** The body with another answer, or another first payload of it. */
export function withFirst(body: ApolloBody, answer: Answer): ApolloBody {
  return body.kind === 'single'
    ? { ...body, singleResult: answer }
    : { ...body, initialResult: answer };
}
