// SPDX-License-Identifier: Apache-2.0
// Who is signed in, and what they may do.

import { createContext, type ReactNode, useContext, useEffect } from "react";
import { live } from "./api/live";
import { client } from "./api/queries";
import type { Session } from "./api/types";

/** Whether the session ended because the viewer said so; then there is nothing to explain. */
let leaving = false;
export const leave = (): void => {
  leaving = true;
};
export const hasLeft = (): boolean => leaving;

const Current = createContext<Session | null>(null);

/** For pages below the shell, which is only there for someone who is signed in. */
export function useSession(): Session {
  const session = useContext(Current);
  if (!session) throw new Error("no session");
  return session;
}

/** Whether the viewer has a privilege; an owner has all. */
export function useMay(): (privilege: string) => boolean {
  const { privileges } = useSession();
  return (privilege) => privileges.includes(privilege) || privileges.includes("owner");
}

export function SessionProvider({ session, children }: { session: Session; children: ReactNode }) {
  const { token } = session;
  const workgroup = session.workgroup.id;
  useEffect(() => {
    leaving = false;
    live.connect(token, workgroup, () => void client.invalidateQueries({ queryKey: ["session"] }));
    return () => live.disconnect();
  }, [token, workgroup]);
  return <Current.Provider value={session}>{children}</Current.Provider>;
}
