// SPDX-License-Identifier: Apache-2.0

import { lazy } from "react";
import { Link, Navigate, Route, Routes } from "react-router";
import { useSessionQuery } from "./api/queries";
import { Empty, Problem } from "./components/bits";
import { Mark } from "./components/Mark";
import { Shell } from "./components/Shell";
import DevicesPage from "./pages/DevicesPage";
import SignIn from "./pages/SignIn";
import { hasLeft, SessionProvider } from "./session";
import { S } from "./strings";

const DevicePage = lazy(() => import("./pages/DevicePage"));
const PluginsPage = lazy(() => import("./pages/PluginsPage"));
const GatewayPage = lazy(() => import("./pages/GatewayPage"));
const AccessPage = lazy(() => import("./pages/AccessPage"));
const AuditPage = lazy(() => import("./pages/AuditPage"));
const ProfilePage = lazy(() => import("./pages/ProfilePage"));

/** Whether someone was signed in since this page was opened. */
let wasSignedIn = false;

export function App() {
  const { data: session, error, refetch } = useSessionQuery();
  if (session === undefined) {
    return (
      <main className="signin">
        {error ? (
          <div className="box">
            <Problem error={error} retry={() => void refetch()} />
          </div>
        ) : (
          <span className="waiting" aria-busy="true">
            <Mark size={40} />
          </span>
        )}
      </main>
    );
  }
  if (session === null) return <SignIn ended={wasSignedIn && !hasLeft()} />;
  wasSignedIn = true;
  return (
    <SessionProvider key={session.user.id} session={session}>
      <Routes>
        <Route element={<Shell />}>
          <Route index element={<Navigate to="/devices" replace />} />
          <Route path="devices" element={<DevicesPage />} />
          <Route path="devices/:id" element={<DevicePage />} />
          <Route path="plugins" element={<PluginsPage />} />
          <Route path="gateway" element={<GatewayPage />} />
          <Route path="access" element={<AccessPage />} />
          <Route path="audit" element={<AuditPage />} />
          <Route path="profile" element={<ProfilePage />} />
          <Route path="*" element={<Lost />} />
        </Route>
      </Routes>
    </SessionProvider>
  );
}

function Lost() {
  return (
    <div className="card">
      <Empty title={S.errors.notFound}>
        <p>{S.errors.notFoundHint}</p>
        <Link to="/devices" className="link">
          {S.errors.toDevices}
        </Link>
      </Empty>
    </div>
  );
}
