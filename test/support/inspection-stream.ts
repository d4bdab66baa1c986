import type { RequestSummary } from '../../lib/inspector/view/view-types.js';

/** What a page reads from the stream: events with their data, as they come. */
export class InspectionStream {
  readonly texts: string[] = [];
  readonly #abort = new AbortController();
  ended = false;

  constructor(url: string) {
    void this.#read(url);
  }

  async #read(url: string): Promise<void> {
    const answer = await fetch(url, { signal: this.#abort.signal });
    const decoder = new TextDecoder();
    for await (const chunk of answer.body!) {
      this.texts.push(decoder.decode(chunk as Uint8Array));
    }
    this.ended = true;
  }

  get summaries(): RequestSummary[] {
    const data = this.texts.join('').matchAll(/^data: (.*)$/gm);
    return [...data].flatMap(([, json]) => {
      const parsed = JSON.parse(json!) as RequestSummary[] | { changed: RequestSummary[] };
      return Array.isArray(parsed) ? parsed : parsed.changed;
    });
  }
}
