/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the guest's kernel sees the VMM's pages: what reservetop=4M leaves free. */
#ifndef PV_XEN_LAYOUT_H
#define PV_XEN_LAYOUT_H

#define PV_XEN_LOW_BASE  0xffc00000u
#define PV_XEN_LOW_ENTRY (PV_XEN_LOW_BASE + 0x1000)
#define PV_XEN_LOW_IRET  (PV_XEN_LOW_ENTRY + 0x20) /* the same for IRET */
/* PREVIRT_COUNTERS_GUEST: the counters, read-only */
#define PV_XEN_LOW_STUBS (PV_XEN_LOW_BASE + 0x3000)

#endif
