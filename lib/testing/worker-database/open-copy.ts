import { ContentsReader, type DatabaseContents } from './database-contents.js';
import { DatabaseLink, type RunSql } from './database-link.js';
import type { MarkedDatabase } from './database-mark.js';
import { restoreContents, type RestoreWay } from './restore-contents.js';

/** Runs in the transaction that gives rows of the template other marks. */
export type OnNewMarks = (run: RunSql, contents: DatabaseContents) => Promise<void>;

/** What a copy has to hold. */
type Holdings = Pick<MarkedDatabase, 'contents' | 'fixtures'>;

/** A copy of a template, with the connection that puts it back. */
export class OpenCopy {
  readonly #link: DatabaseLink;
  readonly #onNewMarks: OnNewMarks;
  #holdings: Holdings;
  #way: RestoreWay = 'as-replica';
  /** It ends with the connection, which has its prepared query. */
  #reader: ContentsReader;

  private constructor(link: DatabaseLink, holdings: Holdings, onNewMarks: OnNewMarks) {
    this.#link = link;
    this.#holdings = holdings;
    this.#reader = new ContentsReader(holdings.contents);
    this.#onNewMarks = onNewMarks;
  }

  /**
   * Connects when it is first used.
   *
   * @param onNewMarks keeps the contents where a later process looks for them
   */
  static async open(url: string, holdings: Holdings, onNewMarks: OnNewMarks): Promise<OpenCopy> {
    const link = await DatabaseLink.open(url, {
      onConnect: async () => {
        copy.#reader = new ContentsReader(holdings.contents);
      },
    });
    const copy = new OpenCopy(link, holdings, onNewMarks);
    return copy;
  }

  /**
   * Asks the server whether the URL leads to the copy.
   *
   * @throws {@link WrongDatabaseError}
   */
  async verify(): Promise<void> {
    await this.#link.use(() => Promise.resolve());
  }

  /**
   * Puts rows and sequences back.
   *
   * @returns false where only a new copy helps, see {@link restoreContents}
   * @throws {@link WrongDatabaseError}
   */
  async restore(): Promise<boolean> {
    return this.#link.use(async (run) => {
      const { contents: before, fixtures } = this.#holdings;
      const restored = await restoreContents(run, {
        before,
        reader: this.#reader,
        fixtures,
        way: this.#way,
        onNewMarks: (contents) => this.#onNewMarks(run, contents),
      });
      if (restored === undefined) {
        return false;
      }
      this.#holdings = { contents: restored.contents, fixtures };
      this.#way = restored.way;
      return true;
    });
  }

  async close(): Promise<void> {
    await this.#link.close();
  }
}
