/**
 * What the kernel says of one task when it is asked to do or tell something.
 *
 * Kept until another task is looked at or the same is asked again: the sentence stands where the button is.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { WatchedTask } from './watched';

/** What is asked: to try it again, or why it ran. */
export type Question = 'retry' | 'explain';

export interface IAnswer {
  /** Null until it is there. */
  readonly text: string | null;
  /** Whether the text is why it could not be done. */
  readonly refused: boolean;
}

export class TaskAnswers implements IDisposable {
  constructor(private _watched: WatchedTask) {
    _watched.selection.changed.connect(this._forget, this);
  }

  get changed(): ISignal<TaskAnswers, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  of(question: Question): IAnswer | undefined {
    return this._answers.get(question);
  }

  /** Asks it of the task that is watched; while an answer is awaited it is not asked again. */
  async ask(question: Question): Promise<void> {
    const { run, task } = this._watched;
    if (!run || task === null || this.of(question)?.text === null) {
      return;
    }
    const answers = this._answers;
    if (question === 'retry') {
      answers.delete('explain'); // of the attempts before
    }
    this._tell(answers, question, { text: null, refused: false });
    try {
      const text = await (question === 'retry' ? run.retry([task]) : run.explain(task));
      this._tell(answers, question, { text, refused: false });
    } catch (error) {
      this._tell(answers, question, { text: (error as Error).message, refused: true });
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.clearData(this);
    }
  }

  /** What comes late is said of a task that nobody looks at any more. */
  private _tell(answers: Map<Question, IAnswer>, question: Question, answer: IAnswer): void {
    answers.set(question, answer);
    if (answers === this._answers && !this._isDisposed) {
      if (question === 'retry' && answer.text !== null) {
        this._watched.reload(); // also a task that has failed again before anybody was told of it
      }
      this._changed.emit();
    }
  }

  private _forget(): void {
    this._answers = new Map();
    this._changed.emit();
  }

  private _answers = new Map<Question, IAnswer>();
  private _isDisposed = false;
  private _changed = new Signal<TaskAnswers, void>(this);
}
