"""One suite for every driver and every layout of the hierarchies.

Law: nothing here knows how a guest is booted; `CGMGR_GUEST` names the layout inside one.
"""
