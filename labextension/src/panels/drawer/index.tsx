/** The drawer as a widget: the selected task, kept fresh while it is seen. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { isFinal } from '../../components/states';
import { RunView } from '../../components/view';
import { TaskAnswers } from '../../model/answers';
import { WatchedTask } from '../../model/watched';
import type { IRuns, ISelection } from '../../tokens';
import { DrawerBody } from './body';

export interface IDrawerActions {
  cancelTask: (task: number) => void;
  cancelCell: (cell: string, client: number) => void;
  copy: (text: string) => void;
}

export class DrawerView extends RunView {
  constructor(
    runs: IRuns,
    selection: ISelection,
    private _actions: IDrawerActions,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this._model = new WatchedTask(runs, selection);
    this._answers = new TaskAnswers(this._model);
    this.follow(this._model.changed);
    this.follow(this._answers.changed);
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        selection.select(null);
      }
    });
  }

  dispose(): void {
    this._answers.dispose();
    this._model.dispose();
    super.dispose();
  }

  protected get ticking(): boolean {
    const { detail } = this._model;
    return detail !== null && !isFinal(detail.row.state);
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._model.active = true;
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._model.active = false;
  }

  protected render(): React.JSX.Element | null {
    const { task, detail, problem, run, selection } = this._model;
    if (task === null || !run) {
      return null;
    }
    return (
      <DrawerBody
        task={task}
        detail={detail}
        problem={problem}
        now={run.now}
        live={run.status === 'live'}
        trans={this._trans}
        answers={question => this._answers.of(question)}
        onAsk={question => void this._answers.ask(question)}
        onClose={() => selection.select(null)}
        onCancel={this._actions.cancelTask}
        onCancelCell={this._actions.cancelCell}
        onShow={id => selection.select(id)}
        onCopy={this._actions.copy}
      />
    );
  }

  private _model: WatchedTask;
  private _answers: TaskAnswers;
}
