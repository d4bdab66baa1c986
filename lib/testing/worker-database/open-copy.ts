import { ContentsReader, type DatabaseContents } from './database-contents.js';
import { DatabaseLink, type RunSql } from './database-link.js';
import { FixtureRows } from './fixture-rows.js';
import { restoreContents, type RestoreWay } from './restore-contents.js';

/** Runs in the transaction that gives rows of the template other marks. */
export type OnNewMarks = (run: RunSql, contents: DatabaseContents) => Promise<void>;

/** A copy of a template, with the connection that puts it back. */
export class OpenCopy {
  readonly #link: DatabaseLink;
  readonly #onNewMarks: OnNewMarks;
  #contents: DatabaseContents;
  #way: RestoreWay = 'as-replica';
  /** They end with the connection, as what they have put there does. */
  #reader: ContentsReader;
  #fixtures: FixtureRows | undefined;

  private constructor(link: DatabaseLink, contents: DatabaseContents, onNewMarks: OnNewMarks) {
    this.#link = link;
    this.#contents = contents;
    this.#reader = newReader(contents);
    this.#onNewMarks = onNewMarks;
  }

  /**
   * @param contents what the copy has to hold
   * @param onNewMarks keeps the contents where a later process looks for them
   */
  static async open(
    url: string,
    contents: DatabaseContents,
    onNewMarks: OnNewMarks,
  ): Promise<OpenCopy> {
    const link = await DatabaseLink.open(url, async () => {
      copy.#reader = newReader(contents);
      copy.#fixtures = undefined;
    });
    const copy = new OpenCopy(link, contents, onNewMarks);
    return copy;
  }

  /**
   * Connects, and keeps the rows of the template for {@link restore}. Only for a copy that nobody has
   * written to since the template was copied.
   *
   * @throws {@link WrongDatabaseError}
   */
  async keepFixtures(): Promise<void> {
    await this.#link.use((run) => this.#keep(run));
  }

  /**
   * Puts rows and sequences back.
   *
   * @returns false where only a new copy helps, see {@link restoreContents}
   * @throws {@link WrongDatabaseError}
   */
  async restore(): Promise<boolean> {
    return this.#link.use(async (run) => {
      const restored = await restoreContents(run, {
        before: this.#contents,
        reader: this.#reader,
        fixtures: this.#fixtures ?? FixtureRows.none(),
        way: this.#way,
        onNewMarks: (contents) => this.#onNewMarks(run, contents),
      });
      if (restored === undefined) {
        return false;
      }
      this.#contents = restored.contents;
      this.#way = restored.way;
      if (this.#fixtures === undefined) {
        await this.#keep(run);
      }
      return true;
    });
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  async #keep(run: RunSql): Promise<void> {
    this.#fixtures = await FixtureRows.keep(run, this.#contents);
  }
}

function newReader({ tables }: DatabaseContents): ContentsReader {
  return new ContentsReader(Object.keys(tables));
}
