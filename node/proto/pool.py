"""The descriptor pool that our generated messages live in, apart from protobuf's process-wide one.

Without it a process could not import another etcd client's messages beside ours: equal names
collide in a shared pool.
"""

from __future__ import annotations

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
