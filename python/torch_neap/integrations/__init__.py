# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Callbacks for trainers of others. Each module imports its framework, so import it by name."""
