"""All messages between the processes of a run: a tagged struct for each, a union for each link and direction.

``client``, ``worker`` and ``manager`` hold the messages of one kind of link each; ``base`` holds the shared types.
"""
