"""Every message between the processes of a run: one tagged struct each, one union per link and direction.

``client``, ``worker`` and ``manager`` hold the messages of one link each, ``base`` what they share.
"""
