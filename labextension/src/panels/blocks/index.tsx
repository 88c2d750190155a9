/** The view of the panel that shows the blocks. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { RunView } from '../../components/view';
import type { OpenBlocks } from '../../model/blocks';
import type { IRuns } from '../../tokens';
import type { IBlocksActions } from './body';
import { BlocksBody } from './body';

export class BlocksView extends RunView {
  constructor(
    runs: IRuns,
    private _open: OpenBlocks,
    private _actions: IBlocksActions,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.follow(_open.changed);
  }

  dispose(): void {
    this._open.dispose();
    super.dispose();
  }

  /** Whether the view redraws by itself: ages and charts change with time while the run is live. */
  protected get ticking(): boolean {
    return this.run?.status === 'live';
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._open.active = true;
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._open.active = false;
  }

  protected render(): React.JSX.Element | null {
    return this.run && <BlocksBody run={this.run} open={this._open} trans={this._trans} actions={this._actions} />;
  }
}
