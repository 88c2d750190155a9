/** Adds the view of the blocks to the panel, and the commands that control blocks. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { OpenBlocks } from '../model/blocks';
import { BlocksView } from '../panels/blocks';
import type { IBlockActionRequest } from '../protocol';
import { notify } from '../notify';
import { IParslPanel, IRuns } from '../tokens';

const TEXT = { type: 'string' };

export const blocksPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:blocks',
  description: 'Shows the blocks of the run and how busy their nodes are.',
  autoStart: true,
  requires: [IRuns, IParslPanel],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    panel: IParslPanel,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const open = new OpenBlocks(runs);
    const actions = {
      command: (row: { executor: string; block: string }, action: string) =>
        void app.commands.execute(Commands.commandBlock, { executor: row.executor, block: row.block, action }),
      scale: (executor: string, blocks: number) =>
        void app.commands.execute(Commands.scaleExecutor, { executor, blocks }),
      copy: (text: string) => Clipboard.copyToSystem(text)
    };
    const content = new BlocksView(runs, open, actions, trans);
    panel.addView({
      id: 'blocks',
      label: trans.__('Blocks'),
      rank: 40,
      content,
      fits: run => (run?.blocks.size ?? 0) > 0
    });

    const sure = async (block: string, tasks: number) => {
      const answer = await showDialog({
        title: trans.__('Cancel block %1?', block),
        body: trans._n(
          'Its job ends at once. A worker of it is busy: that task is tried again elsewhere, or fails where no more tries are allowed.',
          'Its job ends at once. %1 workers of it are busy: those tasks are tried again elsewhere, or fail where no more tries are allowed.',
          tasks
        ),
        buttons: [
          Dialog.cancelButton({ label: trans.__('Keep it') }),
          Dialog.warnButton({ label: trans.__('Cancel block') })
        ]
      });
      return answer.button.accept;
    };
    app.commands.addCommand(Commands.showBlocks, {
      label: trans.__('Show the Blocks of the Run'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => (runs.current?.blocks.size ?? 0) > 0,
      execute: () => panel.open('blocks')
    });
    app.commands.addCommand(Commands.commandBlock, {
      label: trans.__('Hold, Release, Drain or Cancel a Block'),
      describedBy: {
        args: { type: 'object', properties: { executor: TEXT, block: TEXT, action: TEXT } }
      },
      isEnabled: () => runs.current?.status === 'live',
      execute: async args => {
        const { executor, block, action } = args as { executor: string; block: string; action: string };
        const busy = runs.current?.blocks.get(`${executor}/${block}`)?.busy ?? 0;
        if (action !== 'cancel' || busy === 0 || (await sure(block, busy))) {
          await notify(runs.current?.commandBlock(executor, block, action as IBlockActionRequest['action']));
        }
      }
    });
    app.commands.addCommand(Commands.scaleExecutor, {
      label: trans.__('Scale an Executor to a Number of Blocks'),
      describedBy: {
        args: { type: 'object', properties: { executor: TEXT, blocks: { type: 'number' } } }
      },
      isEnabled: () => runs.current?.status === 'live',
      execute: args => {
        const { executor, blocks } = args as { executor: string; blocks: number };
        return notify(runs.current?.scale(executor, blocks));
      }
    });
    palette?.addItem({ command: Commands.showBlocks, category: trans.__('Parsl') });
  }
};
