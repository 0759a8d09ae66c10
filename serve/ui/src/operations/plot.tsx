/** A drawing of numbers over time by uPlot, which follows its data, its width and the theme. */

import "uplot/dist/uPlot.min.css";
import { type JSX, useEffect, useRef } from "react";
import uPlot from "uplot";
import { useWidth } from "../parts/width";
import { useLanguage } from "../words";
import { axisWidth, COUNT_STEPS, countLabel, LENGTH_STEPS, lengthLabel, momentLabel } from "./axes";
import { lonely } from "./lines";

const HEIGHT = 104;
const FONT_PX = 11;
const DOT_PX = 6;

export interface Drawn {
  readonly kind: "bars" | "lines";
  /** Where the numbers stand, in ms, ascending; then the numbers of each series. */
  readonly data: readonly [readonly number[], ...(readonly (number | null)[])[]];
  readonly fromMs: number;
  readonly toMs: number;
}

export function Plot({
  label,
  tone,
  drawn,
  onPoint,
}: {
  label: string;
  tone: "running" | "failed";
  drawn: Drawn;
  /** Told which of the moments the pointer is at, null for none. */
  onPoint: (index: number | null) => void;
}): JSX.Element {
  const [area, width] = useWidth<HTMLDivElement>();
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(drawn);
  latest.current = drawn;
  const language = useLanguage();
  const isThere = width > 0;
  useEffect(() => {
    const element = area.current;
    if (!isThere || element === null) return;
    const made = new uPlot(optionsOf(element, latest, onPoint), dataOf(latest.current), element);
    plot.current = made;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => made.redraw(false);
    dark.addEventListener("change", redraw);
    followTouch(made);
    return () => {
      dark.removeEventListener("change", redraw);
      made.destroy();
      plot.current = null;
    };
  }, [area, isThere, onPoint]);
  useEffect(() => {
    if (width > 0) plot.current?.setSize({ width, height: HEIGHT });
  }, [width]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the labels are of a language
  useEffect(() => {
    plot.current?.setData(dataOf(drawn));
  }, [drawn, language]);
  return <div ref={area} className={`plot of-${tone}`} role="img" aria-label={label} />;
}

function dataOf({ data }: Drawn): uPlot.AlignedData {
  return data as uPlot.AlignedData;
}

function optionsOf(
  element: HTMLElement,
  latest: { readonly current: Drawn },
  onPoint: (index: number | null) => void,
): uPlot.Options {
  const { kind } = latest.current;
  const look = getComputedStyle(element);
  // A canvas does not know the variables of the page, and the theme may change.
  const colour = (name: string) => () => look.getPropertyValue(name);
  return {
    width: element.clientWidth,
    height: HEIGHT,
    ms: 1,
    padding: [6, 12, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { show: kind === "lines", size: DOT_PX },
      // All charts of the page show the moment that the pointer is at in one of them.
      sync: { key: "operations", setSeries: false },
    },
    scales: {
      x: { time: true, range: () => [latest.current.fromMs, latest.current.toMs] },
      y: { range: (_plot, _least, most) => [0, Math.max(1, most ?? 0) * 1.05] },
    },
    axes: axesOf(kind, `${FONT_PX}px ${look.getPropertyValue("--mono")}`, colour),
    series: [{}, ...latest.current.data.slice(1).map((_, index) => seriesOf(kind, index, colour))],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
  };
}

type Colour = (name: string) => () => string;

function axesOf(kind: Drawn["kind"], font: string, colour: Colour): uPlot.Axis[] {
  const isCount = kind === "bars";
  const label = isCount ? countLabel : lengthLabel;
  const words = { font, stroke: colour("--plot-words"), ticks: { show: false } };
  const line = { stroke: colour("--plot-grid"), width: 1 };
  return [
    {
      ...words,
      size: 22,
      gap: 6,
      space: 56,
      grid: { show: false },
      values: (_plot, moments) => moments.map(momentLabel),
    },
    {
      ...words,
      gap: 6,
      space: 24,
      grid: line,
      incrs: isCount ? COUNT_STEPS : LENGTH_STEPS,
      size: (_plot, labels) => axisWidth(labels),
      values: (plot, values) =>
        plot.data.slice(1).some((each) => each.some((value) => value !== null)) || isCount
          ? values.map(label)
          : values.map(() => ""),
    },
  ];
}

function seriesOf(kind: Drawn["kind"], index: number, colour: Colour): uPlot.Series {
  if (kind === "bars") {
    const { bars } = uPlot.paths;
    const tone = colour("--plot-bar");
    return {
      fill: tone,
      stroke: tone,
      width: 2, // the smallest number is still seen
      points: { show: false },
      ...(bars && { paths: bars({ size: [0.8, 100], gap: 1 }) }),
    };
  }
  const tone = colour(index === 0 ? "--plot-bar" : "--plot-line");
  return {
    stroke: tone,
    width: 2,
    spanGaps: false,
    points: {
      show: true,
      size: DOT_PX,
      width: 0,
      fill: tone,
      // Only a minute without one before and after it has no line.
      filter: (plot, series) => lonely(plot.data[series] as (number | null)[]),
    },
  };
}

/** A finger that lies on a drawing moves its line, as the pointer of a mouse does. */
function followTouch(plot: uPlot): void {
  const move = ({ pointerType, offsetX: left, offsetY: top }: PointerEvent) => {
    if (pointerType !== "mouse") plot.setCursor({ left, top });
  };
  plot.over.addEventListener("pointerdown", move);
  plot.over.addEventListener("pointermove", move);
}
