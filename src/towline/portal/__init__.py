# SPDX-License-Identifier: Apache-2.0
"""The portal: serves the built page (sources in web/) to browsers. The page itself uses only the public REST and socket.io."""

from towline.portal.app import create_portal

__all__ = ["create_portal"]
