/** Provides the side panel and adds it to the side that the settings name. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ILayoutRestorer } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { parslIcon } from '../icons';
import { ParslPanel } from '../panels/frame';
import { IParslPanel, IRuns } from '../tokens';

const ID = 'parslab:panel';

export const panelPlugin: JupyterFrontEndPlugin<IParslPanel> = {
  id: ID,
  description: 'Shows the Parsl run of the notebook in front.',
  autoStart: true,
  requires: [IRuns],
  optional: [ISettingRegistry, ILayoutRestorer, ICommandPalette, ITranslator],
  provides: IParslPanel,
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    registry: ISettingRegistry | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const panel = new ParslPanel(runs, trans);
    panel.reveal = () => app.shell.activateById(panel.id);
    panel.keep = seconds => void app.commands.execute(Commands.keepRun, { seconds });
    panel.attach = () => void app.commands.execute(Commands.attachRun);
    restorer?.add(panel, panel.id);

    let side = 'right';
    const put = () => app.shell.add(panel, side, { rank: 700, type: 'Parsl' });
    put();
    void registry?.load(ID).then(settings => {
      const place = () => {
        const wanted = settings.get('side').composite as string;
        if (wanted !== side) {
          side = wanted;
          put();
        }
      };
      place();
      settings.changed.connect(place);
    });

    app.commands.addCommand(Commands.openPanel, {
      label: trans.__('Open the Parsl Panel'),
      icon: parslIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => panel.open()
    });
    palette?.addItem({ command: Commands.openPanel, category: trans.__('Parsl') });
    return panel;
  }
};
