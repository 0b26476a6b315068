// SPDX-License-Identifier: Apache-2.0
// The chart data of a device: fetched for the window, then appended by the live feed; a zoom is fetched by itself.

import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useState } from "react";
import { fetchMetrics, useDeviceFeed } from "../api/queries";
import type { LiveRecord } from "../api/types";
import type { Zoom } from "../components/Chart";
import { type Range, RANGES } from "../lib/preferences";
import { SeriesStore } from "../lib/store";

export function useSeries(deviceId: string, range: Range, zoom: Zoom | null): { store: SeriesStore; error: unknown; truncated: boolean } {
  // biome-ignore lint: a new device or window is a new store
  const store = useMemo(() => new SeriesStore(RANGES[range]), [deviceId, range]);
  const window = useQuery({
    queryKey: ["metrics", deviceId, range],
    queryFn: ({ signal }) => {
      const now = Date.now();
      return fetchMetrics(deviceId, new Date(now - RANGES[range]).toISOString(), new Date(now).toISOString(), signal);
    },
    staleTime: 60_000,
    gcTime: 0,
  });
  const detail = useQuery({
    queryKey: ["metrics", deviceId, zoom],
    queryFn: ({ signal }) =>
      fetchMetrics(deviceId, new Date(zoom!.from).toISOString(), new Date(zoom!.to).toISOString(), signal),
    enabled: zoom !== null,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
  });
  // Fetched again after a loss, the same points merge with those that are there. The count makes the page look again.
  const [, setLoads] = useState(0);
  useEffect(() => {
    if (!window.data) return;
    store.load(window.data);
    setLoads((count) => count + 1);
  }, [window.data, store]);
  const zoomed = useMemo(() => {
    if (!detail.data || !zoom) return null;
    const made = new SeriesStore(zoom.to - zoom.from);
    made.load(detail.data);
    return made;
  }, [detail.data, zoom]);
  const append = useCallback((records: LiveRecord[]) => store.append(records), [store]);
  useDeviceFeed(deviceId, append);
  const shown = zoom && zoomed ? zoomed : store;
  return { store: shown, error: zoom ? detail.error : window.error, truncated: shown.truncated };
}
