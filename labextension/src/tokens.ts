/**
 * The services of the extension: small interfaces, so that a panel of somebody else can use them too.
 *
 * IConnection carries messages, IRun is what is known of one run, IRuns says which run belongs to the notebook in
 * front, IParslPanel is the side panel with its views.
 */
import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

import type {
  Reply,
  Request,
  IBlockActionRequest,
  IBlockRow,
  IBlockOutput,
  IManagerRow,
  INotice,
  IOverview,
  ITaskPageRequest,
  IRunInfo,
  ITaskDetail,
  ITaskPage,
  IWorkerRow,
  ScalePoint
} from './protocol';

/**
 * How a kernel and this page stand to each other: no word from the kernel yet; it has no run; messages come; messages
 * stopped because of the kernel or the network; the kernel said that the run is gone.
 */
export type Link = 'connecting' | 'absent' | 'live' | 'lost' | 'closed';

/** Carries the panel protocol between one kernel and this page, and reads nothing but where messages belong. */
export interface IConnection extends IDisposable {
  readonly link: Link;
  /** Why the link is lost or closed, for the user; may be empty. */
  readonly reason: string;
  readonly linkChanged: ISignal<IConnection, Link>;
  readonly received: ISignal<IConnection, Reply>;
  /** Whether it is worth to send an Attach although no run has shown itself yet. */
  find(): Promise<boolean>;
  /** Resolves when the kernel has accepted the request, rejects with a sentence when it has not. */
  send(request: Request): Promise<void>;
}

/** What the panel can say of a run: none known; asked for; up to date; kernel or network away; it has ended. */
export type RunStatus = 'connecting' | 'none' | 'waiting' | 'live' | 'lost' | 'ended';

/** A task as a node of the graph. */
export interface INode {
  readonly id: number;
  readonly app: string;
  state: string;
  deps: readonly number[];
}

/** What one message changed. */
export interface IRunChange {
  /** Forget what you know: everything may be new. */
  readonly reset: boolean;
  /** Tasks that are new, or got new dependencies. */
  readonly added: readonly number[];
  /** Tasks whose state changed. */
  readonly moved: readonly number[];
}

/** The run of one kernel, as far as it has been told. */
export interface IRun extends IDisposable {
  readonly status: RunStatus;
  /** One sentence on a status that needs one; may be empty. */
  readonly reason: string;
  /** Tells runs apart, also those of one kernel; undefined until the run is known. */
  readonly id: string | undefined;
  readonly info: IRunInfo | null;
  readonly overview: IOverview | null;
  /** Seconds since the epoch of the kernel's clock, carried on by ours. */
  readonly now: number;
  readonly nodes: ReadonlyMap<number, INode>;
  readonly hidden: number;
  readonly workers: ReadonlyMap<string, IWorkerRow>;
  /** By executor and block id: `htex/0`. */
  readonly blocks: ReadonlyMap<string, IBlockRow>;
  readonly managers: ReadonlyMap<string, IManagerRow>;
  /** How blocks, workers and waiting tasks came and went, since the run began; empty without blocks. */
  readonly scaling: readonly ScalePoint[];
  readonly notices: readonly INotice[];
  /** Tasks finished per second: the last minute, one number a second, the newest last. */
  readonly rates: readonly number[];
  readonly changed: ISignal<IRun, IRunChange>;
  page(query: Omit<ITaskPageRequest, 'type' | 'request_id'>): Promise<ITaskPage>;
  detail(task: number): Promise<ITaskDetail>;
  /** When the run ends if no kernel attaches, as far as the panel knows; null while its kernel is connected. */
  readonly expires: number | null;
  /** Cancels these tasks, or all unfinished ones; resolves with what was done, as all commands do. */
  cancel(tasks: readonly number[] | 'all'): Promise<string>;
  /** Cancels what a cell has called (`In [3]`): of this client, or of the notebook of this page. */
  cancelCell(cell: string, client?: number): Promise<string>;
  /** Tries these tasks again, or all that failed, or those of them that are of one app. */
  retry(tasks: readonly number[] | 'failed', app?: string): Promise<string>;
  /** Why a task ran, or whose result it has. */
  explain(task: number): Promise<string>;
  /** Lets the run outlive its last client by so many seconds; 0: it ends with it. */
  keep(seconds: number): Promise<string>;
  /** The last lines that the job of a block has printed. */
  blockOutput(executor: string, block: string): Promise<IBlockOutput>;
  /** `scale` brings an executor to so many blocks. */
  commandBlock(executor: string, block: string, action: IBlockActionRequest['action']): Promise<string>;
  scale(executor: string, blocks: number): Promise<string>;
}

/** Which run is shown. */
export interface IRuns {
  /** The run of the notebook in front; null when there is no notebook with a kernel. */
  readonly current: IRun | null;
  readonly currentChanged: ISignal<IRuns, IRun | null>;
  /** Whether the panel is visible: only then runs send deltas. */
  visible: boolean;
}

export const IRuns = new Token<IRuns>('parslab:IRuns', 'The Parsl runs of the open notebooks.');

/** The task that the drawer shows and that the graph and the table mark. */
export interface ISelection {
  readonly task: number | null;
  readonly changed: ISignal<ISelection, number | null>;
  select(task: number | null): void;
}

/** A tab of the side panel. */
export interface IView {
  /** Stable, e.g. `graph`. */
  readonly id: string;
  readonly label: string;
  readonly rank: number;
  readonly content: Widget;
  /** Whether there is something to show; without it, always. */
  readonly fits?: (run: IRun | null) => boolean;
}

/** The side panel. */
export interface IParslPanel {
  readonly selection: ISelection;
  addView(view: IView): void;
  /** The widget below (or beside) the tabs while a task is selected. */
  setDrawer(drawer: Widget): void;
  /** Brings the panel to the front, with this view if given. */
  open(view?: string): void;
}

export const IParslPanel = new Token<IParslPanel>('parslab:IParslPanel', 'The side panel of Parsl.');
